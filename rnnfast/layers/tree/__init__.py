"""Recursive layers: Tree-LSTM, level by level over many trees.

``plan`` finds out which nodes can be computed together, ``lstm`` is the layer over vectors, ``encoder`` the same
behind a table of symbols, as a model is made of.
"""

from rnnfast.layers.tree.encoder import TreeEncoder
from rnnfast.layers.tree.lstm import TreeLSTM

__all__ = ["TreeEncoder", "TreeLSTM"]
