"""CRF: a score for each pair of neighbouring tags, on top of the scores a network gives each tag in each step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    called_before,
    check_choice,
    check_dtype,
    check_generator,
    check_lengths,
    check_real,
    check_seed,
    check_size,
    parameters_changed,
)
from rnnfast.initializers import uniform
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient, check_gradients


class Chain(NamedTuple):
    """What a `CRF` returns: all that scores of paths are made of. A loss returns its gradient in the same form.

    Attributes
    ----------
    emissions : ndarray (N, T, K)
    transitions : ndarray (K, K)
        From row to column.
    start, end : ndarray (K,)
    """

    emissions: FloatArray
    transitions: FloatArray
    start: FloatArray
    end: FloatArray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the emissions."""
        shape: tuple[int, ...] = self.emissions.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the emissions."""
        return self.emissions.dtype

    def path(self, lengths: Any = None) -> NDArray[np.int64]:
        """Return the tags of `decode` alone, which is all that is needed to judge them."""
        found: NDArray[np.int64] = implementation("crf").best(*self.prepared(lengths))[0]
        return found

    def decode(self, lengths: Any = None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the path of tags of the highest score of each sequence, by Viterbi's algorithm.

        Parameters
        ----------
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence.

        Returns
        -------
        tags : ndarray of int64 (N, T)
            Zeros past the lengths.
        scores : ndarray of float64 (N,)
            Less the log of the sum over all paths: log-probabilities, see `CRFLoss`.
        """
        x, valid, *rest = self.prepared(lengths)
        path, score = implementation("crf").best(x, valid, *rest)
        return path, score - self.log_normaliser(lengths)

    def marginals(self, lengths: Any = None) -> NDArray[np.float64]:
        """Return the probability of each tag in each step, summed over all paths, (N, T, K); zeros past the lengths."""
        share: NDArray[np.float64] = implementation("crf").sums(*self.prepared(lengths), True)[1]
        return share

    def log_normaliser(self, lengths: Any = None) -> NDArray[np.float64]:
        """Return log of the sum of e^score over all paths of each sequence, (N,)."""
        found: NDArray[np.float64] = implementation("crf").sums(*self.prepared(lengths), False)[0]
        return found

    def prepared(self, lengths: Any) -> tuple[Any, ...]:
        """Return emissions, lengths, transitions, start and end as the implementations take them."""
        batch, steps, _ = self.emissions.shape
        valid = check_lengths(lengths, batch, steps)
        x, m, start, end = (part.astype(np.float64) for part in self)
        return x, np.full(batch, steps) if valid is None else valid, m, start, end


class CRF(Layer):
    """A linear-chain conditional random field: the last layer of a tagger whose neighbouring tags depend on each other.

    A path of tags y has the score ``start_y0 + sum_t x_t,yt + sum_t transitions_yt-1,yt + end_yT-1`` and the
    probability e^score over the sum of that over all paths (Lafferty et al. 2001, "Conditional random fields:
    probabilistic models for segmenting and labeling sequence data"). The layer returns a `Chain`, which `CRFLoss` and
    the metric `Accuracy` take, and which finds the best path.

    Parameters
    ----------
    num_tags : int
        K.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.
    init : {"default", "zeros"}, default "default"
        "default": uniform within 0.1 of zero.

    Notes
    -----
    The parameters are ``transitions`` (K, K), from row to column, ``start_transitions`` and ``end_transitions`` (K,).
    One that is -inf forbids, and stays so in training.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.crf import CRF
    >>> crf = CRF(2, init="zeros")
    >>> with crf.update() as parameters:
    ...     parameters["transitions"] = [[0, 1], [1, 0]]    # tags like to take turns
    >>> crf.decode([[[0.1, 0], [0.2, 0], [0.1, 0]]])[0].tolist()
    [[0, 1, 0]]
    """

    def __init__(self, num_tags: int, *, dtype: Any = np.float32, seed: Any = None, init: str = "default") -> None:
        self.num_tags = check_size("num_tags", num_tags)
        self.dtype = check_dtype(dtype)
        self.init = check_choice("init", init, ("default", "zeros"))
        rng, bound = check_seed(seed), 0.1 if init == "default" else 0.0
        shapes = {"transitions": (num_tags, num_tags), "start_transitions": (num_tags,), "end_transitions": (num_tags,)}
        super().__init__({name: uniform(shape, rng, self.dtype, -bound, bound) for name, shape in shapes.items()})

    def __call__(self, x: Any, *, lengths: Any = None) -> Chain:
        """Return the chain of emissions x (N, T, K); arguments as in `forward`."""
        x = check_real("x", x, self.dtype, ("N", "T", self.num_tags))
        check_lengths(lengths, *x.shape[:2])
        params = self.params
        return Chain(x, params["transitions"], params["start_transitions"], params["end_transitions"])

    def forward(self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None) -> tuple[Chain, Pullback]:
        """Return ``(chain, pullback)``.

        Parameters
        ----------
        x : array_like (N, T, num_tags)
            Emissions.
        lengths : array_like (N,) of int, optional
            Checked only; whoever reads the chain needs them again.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        chain : Chain
        pullback : callable
            ``dx = pullback(dchain, grads)`` with a `Chain` of gradients; see `Layer`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind or a shape does not fit.
        """
        check_generator(rng)
        chain = self(x, lengths=lengths)
        held: list[Chain] = [chain]
        version = self.params.version

        def pullback(dchain: Any, grads: Gradients) -> FloatArray:
            if not held:
                raise called_before()
            if self.params.version != version:
                raise parameters_changed()
            if not isinstance(dchain, Chain):
                raise TypeError(f"dchain must be a Chain of gradients; got {type(dchain).__name__}")
            pairs = zip(Chain._fields, dchain, held[0], strict=True)
            dx, dm, dstart, dend = (check_real(f"dchain.{k}", d, self.dtype, part.shape) for k, d, part in pairs)
            check_gradients(grads, self.params)
            held.clear()
            for name, value in (("transitions", dm), ("start_transitions", dstart), ("end_transitions", dend)):
                add_gradient(grads, name, value)
            return dx

        return chain, pullback

    def decode(self, x: Any, *, lengths: Any = None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the likeliest path of tags of each sequence and its log-probability; see `Chain.decode`."""
        return self(x, lengths=lengths).decode(lengths)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {"num_tags": self.num_tags, "dtype": self.dtype.name, "init": self.init}
