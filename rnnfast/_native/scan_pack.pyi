from typing import Any

class ScanPacked:
    inputs: int
    hidden: int
    panels: int
    width: int
    slots: int
    columns: int
    itemsize: int
    has_bias: bool
    biased: tuple[int, ...]
    def __init__(self, cell: Any, w_ih: Any, w_c: Any, b_ih: Any) -> None: ...
