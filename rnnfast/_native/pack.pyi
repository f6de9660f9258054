from typing import Any

class Packed:
    inputs: int
    hidden: int
    panels: int
    width: int
    slots: int
    itemsize: int
    has_bias: bool
    def __init__(self, cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> None: ...
    def make_rows(self, which: int) -> None: ...
    def make_bias(self, b_ih: Any, b_hh: Any) -> None: ...
    def make_forward(self, which: int) -> None: ...
