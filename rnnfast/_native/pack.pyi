from collections.abc import Mapping
from typing import Any

class Packed:
    inputs: int
    hidden: int
    panels: int
    width: int
    slots: int
    itemsize: int
    outputs: int
    ld_h: int
    has_bias: bool
    def __init__(self, cell: str, weights: Mapping[str, Any]) -> None: ...
    def make_rows(self, which: int) -> None: ...
    def make_projection(self) -> None: ...
    def make_vectors(self, weights: Mapping[str, Any]) -> None: ...
    def make_forward(self, which: int) -> None: ...
