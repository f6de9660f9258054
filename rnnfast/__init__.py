"""rnnfast: train and serve recurrent neural networks on CPUs."""

__version__ = "0.1.0"
