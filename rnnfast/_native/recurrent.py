"""The native backend as `rnnfast.engine` sees it: both sweeps over one direction of one layer, and over both."""

from rnnfast._native.both import both_backward, both_forward
from rnnfast._native.unroll import direction_forward
from rnnfast._native.unroll_backward import direction_backward

__all__ = ["both_backward", "both_forward", "direction_backward", "direction_forward"]
