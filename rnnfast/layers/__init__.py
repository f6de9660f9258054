"""Layers: holders of parameters whose forward pass returns its own pullback; see `rnnfast.layers.base`."""

# Loaded here, not at the first call: a fork while another thread is importing leaves the child without the lock for it.
import rnnfast._native.crf
import rnnfast._native.dense
import rnnfast._native.normalization
import rnnfast._native.ops
import rnnfast._native.recurrent
from rnnfast.layers.activation import Activation
from rnnfast.layers.base import Layer
from rnnfast.layers.cell import Cell, CellLayer
from rnnfast.layers.chunks import checkpointed
from rnnfast.layers.crf import CRF, Chain
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.feedback import Jordan, OutputFeedback
from rnnfast.layers.normalization import LayerNorm
from rnnfast.layers.pooling import Ends, Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, MGU, RNN
from rnnfast.layers.sequential import Sequential

__all__ = [
    "CRF",
    "GRU",
    "LSTM",
    "MGU",
    "RNN",
    "Activation",
    "Cell",
    "CellLayer",
    "Chain",
    "Dense",
    "Dropout",
    "Embedding",
    "Ends",
    "Jordan",
    "Last",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "MeanPool",
    "OutputFeedback",
    "Sequential",
    "checkpointed",
]
