"""The native backend as `rnnfast.engine` sees it: sweeps over one direction of a layer, over both, and over a stack."""

from rnnfast._native.both import both_backward, both_forward
from rnnfast._native.passes import direction_backward, direction_forward
from rnnfast._native.stack import stack_backward, stack_forward

__all__ = [
    "both_backward",
    "both_forward",
    "direction_backward",
    "direction_forward",
    "stack_backward",
    "stack_forward",
]
