"""Arguments of recurrent layers as users may pass them."""

import numpy as np

# Batch and steps.
SIZES = [(1, 1), (1, 7), (5, 1), (5, 8), (0, 3), (3, 0)]

# How an array may lie in memory.
STRIDES = {
    "contiguous": lambda a: a,
    "other axis first": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2),
    "sliced": lambda a: np.repeat(np.repeat(a, 2, 1), 3, 2)[:, ::2, ::3],
    "negative": lambda a: np.ascontiguousarray(a[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
}

# x and a pair of states that need conversion.
OTHERS = {
    "a list": lambda x, s: (x.tolist(), s),
    "another type": lambda x, s: (x.astype(np.float64), s),
    "another byte order": lambda x, s: (x.astype(x.dtype.newbyteorder()), s),
    "a subclass": lambda x, s: (np.ma.masked_array(x), s),
    "a list of states": lambda x, s: (x, list(s)),
    "states of another type": lambda x, s: (x, (s[0], s[1].astype(np.float64))),
    "a list as a state": lambda x, s: (x, (s[0].tolist(), s[1])),
}
