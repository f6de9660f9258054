"""Recursive layers: Tree-LSTM, level by level over many trees.

``lstm`` is the layer over vectors, ``encoder`` the same behind a table of symbols, as a model is made of; ``parents``
says what a batch of trees has to look like.
"""

from rnnfast.layers.tree.encoder import TreeEncoder
from rnnfast.layers.tree.lstm import TreeLSTM

__all__ = ["TreeEncoder", "TreeLSTM"]
