"""Layers: holders of parameters whose forward pass returns its own pullback; see `rnnfast.layers.base`."""

# Loaded here, not at the first call: a fork while another thread is importing leaves the child without the lock for it.
import rnnfast._native.dense
import rnnfast._native.ops
import rnnfast._native.recurrent
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, MGU, RNN
from rnnfast.layers.sequential import Sequential

__all__ = [
    "GRU",
    "LSTM",
    "MGU",
    "RNN",
    "Dense",
    "Dropout",
    "Embedding",
    "Last",
    "Layer",
    "MaxPool",
    "MeanPool",
    "Sequential",
]
