"""The commands of ``python -m rnnfast``, a module each; what they train is in ``tasks/``."""
