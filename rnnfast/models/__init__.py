"""Whole models: a tagger, and those that write, from nothing, a vector or another sequence; see README.md."""

from rnnfast.models.encoder_decoder import EncoderDecoder
from rnnfast.models.language_model import LanguageModel
from rnnfast.models.tagger import Tagger
from rnnfast.models.vector_to_sequence import VectorToSequence

__all__ = ["EncoderDecoder", "LanguageModel", "Tagger", "VectorToSequence"]
