"""Whole models that generate sequences: from nothing, from a vector, from another sequence. README.md says why so."""

from rnnfast.models.encoder_decoder import EncoderDecoder
from rnnfast.models.language_model import LanguageModel
from rnnfast.models.vector_to_sequence import VectorToSequence

__all__ = ["EncoderDecoder", "LanguageModel", "VectorToSequence"]
