"""Layers: holders of parameters whose forward pass returns its own pullback; see `rnnfast.layers.base`."""

from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, RNN
from rnnfast.layers.sequential import Sequential

__all__ = [
    "GRU",
    "LSTM",
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
