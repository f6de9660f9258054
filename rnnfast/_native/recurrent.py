"""The native backend as `rnnfast.engine` sees it: both sweeps over one direction of one layer."""

from rnnfast._native.unroll import direction_forward
from rnnfast._native.unroll_backward import direction_backward

__all__ = ["direction_backward", "direction_forward"]
