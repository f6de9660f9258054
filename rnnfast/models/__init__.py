"""Whole models that are more than layers one after the other."""

from rnnfast.models.tagger import Tagger

__all__ = ["Tagger"]
