"""The options of recurrent layers and the combinations that are tested: each alone, all pairs, all at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnfast.layers.recurrent import GRU, LSTM, MGU, Recurrent

SHARED: dict[str, Any] = {
    "peephole": True,
    "layer_norm": True,
    "recurrent_dropout": 0.3,
    "weight_drop": 0.2,
}
OPTIONS: dict[type[Recurrent], dict[str, Any]] = {
    LSTM: {**SHARED, "coupled": True, "proj_size": 3, "cell_clip": 0.6, "zoneout": (0.3, 0.2)},
    GRU: {**SHARED, "reset_after": False, "zoneout": 0.3},
    MGU: {**SHARED, "reset_after": True, "zoneout": 0.3},
}


def combinations(kind: type[Recurrent]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a layer of that kind."""
    options = OPTIONS[kind]
    for count in (1, 2, len(options)):
        for names in itertools.combinations(options, count):
            yield {name: options[name] for name in names}


CASES = [(kind, options) for kind in OPTIONS for options in combinations(kind)]
IDS = [f"{kind.__name__}-{'-'.join(options)}" for kind, options in CASES]
ALONE = [(kind, {name: value}) for kind, options in OPTIONS.items() for name, value in options.items()]
ALONE += [(kind, dict(options)) for kind, options in OPTIONS.items()]
ALONE_IDS = [f"{kind.__name__}-{'-'.join(options)}" for kind, options in ALONE]


def make(kind: type[Recurrent], options: dict[str, Any], *sizes: int, seed: int = 1, **kwargs: Any) -> Recurrent:
    """Return a layer all of whose parameters, gains and peepholes too, are random."""
    layer = kind(*sizes, **{"init": "torch", "seed": seed, **kwargs, **options})
    rng = np.random.default_rng(seed)
    with layer.update() as params:
        for name, array in params.items():
            if "weight_ih" not in name and "weight_hh" not in name:
                array += 0.3 * rng.standard_normal(array.shape).astype(array.dtype)
    return layer
