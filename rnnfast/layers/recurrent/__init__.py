"""Recurrent layers, stacked, in one direction or both, with torch's names and shapes.

The mathematics is in ``reference/`` (one file a cell), the loop over layers and directions in ``engine.py``; here are
the parameters, the checks and the pullbacks: what all share in `base` and `pullback`, then one file a layer.
"""

from rnnfast.layers.recurrent.base import Recurrent
from rnnfast.layers.recurrent.gru import GRU, MGU
from rnnfast.layers.recurrent.lstm import LSTM
from rnnfast.layers.recurrent.rnn import RNN

__all__ = ["GRU", "LSTM", "MGU", "RNN", "Recurrent"]
