"""Sequences out of a generative model: greedy, sampled (temperature, top-k, nucleus) and by beam search.

All of it is batched and knows a model by two methods (`Stepwise`), so that whatever gives the logits of a next token
can be decoded: a stateful layer as it is, the models of ``rnnfast.models``, and classes of a user's own.
"""

from rnnfast.decoding.beam import beam_search
from rnnfast.decoding.choose import draw
from rnnfast.decoding.steps import Hypothesis, Stepper, Stepwise
from rnnfast.decoding.stream import Picked, greedy, sample_sequences, stream_tokens

__all__ = [
    "Hypothesis",
    "Picked",
    "Stepper",
    "Stepwise",
    "beam_search",
    "draw",
    "greedy",
    "sample_sequences",
    "stream_tokens",
]
