"""Recurrent layers whose recurrence is elementwise: what all share in `base`, then one file a layer.

Their steps wait for no matrix product, so that long sequences take little more than their input product. The
mathematics is in ``reference/`` (one file a cell); they are used as any other recurrent layer is.
"""

from rnnfast.layers.scan.base import Scan
from rnnfast.layers.scan.indrnn import IndRNN
from rnnfast.layers.scan.mingru import MinGRU
from rnnfast.layers.scan.minlstm import MinLSTM
from rnnfast.layers.scan.qrnn import QRNN
from rnnfast.layers.scan.sru import SRU

__all__ = ["QRNN", "SRU", "IndRNN", "MinGRU", "MinLSTM", "Scan"]
