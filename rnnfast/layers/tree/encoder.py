"""Trees of symbols to vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, as_array, check_choice, check_real, check_seed
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.tree.lstm import TreeLSTM


class TreeEncoder(Layer):
    """A table of symbols and a `TreeLSTM`: from trees of symbols to a vector for each tree, or for each node.

    Parameters
    ----------
    num_embeddings : int
        How many symbols there are.
    embedding_dim : int
        Features of each.
    hidden_size : int
        Units of the tree's nodes.
    kind : {"child_sum", "binary"}, default "child_sum"
        As in `TreeLSTM`.
    output : {"root", "nodes"}, default "root"
        Whether the result is h of the root, (N, hidden_size), or of all nodes, (N, T, hidden_size).
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    Trees come as `rnnfast.data.pack_trees` makes them: ``x`` (N, T, 2) of int, a node's symbol and the number of its
    parent, -1 for the root, with ``lengths`` telling how many nodes each tree has. So a `Trainer` and a `Sequential`
    take them as they take sequences.

    Examples
    --------
    >>> from rnnfast import Dense, Sequential, TreeEncoder
    >>> from rnnfast.data import pack_trees
    >>> x, lengths = pack_trees([(0, 1, (0, 2, 1)), 2])
    >>> model = Sequential(TreeEncoder(3, 4, 8, seed=0), Dense(8, 2, seed=1))
    >>> model(x, lengths=lengths)[0].shape
    (2, 2)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        hidden_size: int,
        kind: str = "child_sum",
        output: str = "root",
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.output = check_choice("output", output, ("root", "nodes"))
        rng = check_seed(seed)
        self.embedding = Embedding(num_embeddings, embedding_dim, dtype=dtype, seed=rng)
        self.tree = TreeLSTM(embedding_dim, hidden_size, kind, dtype=dtype, seed=rng)
        self.dtype = self.tree.dtype
        super().__init__()

    @property
    def pools(self) -> bool:
        """Whether there is one vector for each tree."""
        return self.output == "root"

    def children(self) -> dict[str, Layer]:
        """Return the table and the tree."""
        return {"embedding": self.embedding, "tree": self.tree}

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return the output without saving anything for a backward pass; arguments as in `forward`."""
        x = self._checked(x)
        y, (h, _) = self.tree(self.embedding(x[:, :, 0]), x[:, :, 1], lengths=lengths)
        return h if self.pools else y

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N, T, 2) of int
            Symbol and parent of every node; must not be changed before the pullback is called.
        lengths : array_like (N,) of int, optional
            Nodes of each tree; None: all T.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray (N, hidden_size) or (N, T, hidden_size)
        pullback : callable
            ``pullback(dy, grads)`` returns None: symbols have no gradient. See `Layer`.

        Raises
        ------
        TypeError
            If x does not hold integers.
        ValueError
            If its shape does not fit, or parents do not form trees.
        IndexError
            If a symbol is not in the table.
        """
        x = self._checked(x)
        rows, to_table = self.embedding.forward(x[:, :, 0])
        (y, (h, _)), to_tree = self.tree.forward(rows, x[:, :, 1], lengths=lengths)
        out = h if self.pools else y

        def backward(dy: Any, grads: Gradients) -> None:
            dy = check_real("dy", dy, self.dtype, out.shape)
            own = {name[5:]: array for name, array in grads.items() if name.startswith("tree.")}
            drows = to_tree(None, own, dstate=(dy, None)) if self.pools else to_tree(dy, own)
            table = {"weight": grads["embedding.weight"]} if "embedding.weight" in grads else {}
            to_table(drows, table)
            grads.update({f"tree.{name}": array for name, array in own.items()})
            grads["embedding.weight"] = table["weight"]

        return out, backward

    def _checked(self, x: Any) -> Any:
        x = as_array("x", x)
        if x.dtype.kind not in "iu":
            raise TypeError(f"x must be integers, symbol and parent of each node; got dtype {x.dtype}")
        if x.ndim != 3 or x.shape[2] != 2:
            raise ValueError(f"x must have shape (N, T, 2), symbol and parent of each node; got {x.shape}")
        return x

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "num_embeddings": self.embedding.num_embeddings,
            "embedding_dim": self.embedding.embedding_dim,
            "hidden_size": self.tree.hidden_size,
            "kind": self.tree.kind,
            "output": self.output,
            "dtype": self.dtype.name,
        }
