"""Tree-LSTM: the paper's equations node by node, central differences -> reference -> native, and trees as arrays.

Tolerances: float64 differs by the rounding of sums of some tens of terms, 1e-12 with room for a few levels; float32 is
held to 8 * eps * sqrt(K) * (levels) by the largest element, as in test_native.py.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast import (
    Adam,
    Dense,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    TreeEncoder,
    TreeLSTM,
    gradcheck,
    limit_threads,
    load_model,
    save_model,
    use_backend,
)
from rnnfast._native import kernels, provider
from rnnfast.data import pack_trees
from rnnfast.layers.base import Layer

KINDS = ["child_sum", "binary"]
# Any order of nodes: the first has its root in the middle; the fourth is empty, the fifth one node, the last a chain.
PARENTS = np.array([
    [2, 2, -1, 1, 1, 0], [-1, 0, 0, 1, 1, 2], [1, -1, 1, 9, 9, 9], [7, 7, 7, 7, 7, 7], [-1, 5, 5, 5, 5, 5],
    [1, 2, 3, 4, 5, -1],
])  # fmt: skip
LENGTHS = np.array([6, 6, 3, 0, 1, 6])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def node_by_node(layer, x, parents, node):
    """Return h and c of a node, by recursion."""
    n = layer.hidden_size
    w, u = layer.params["weight_ih"], layer.params["weight_hh"]
    a = w @ x[node] + layer.params.get("bias", 0)
    below = [node_by_node(layer, x, parents, k) for k in range(len(x)) if parents[k] == node]
    if layer.kind == "child_sum":
        s = sum((h for h, _ in below), np.zeros(n))
        gates, forgets = u[: 3 * n] @ s, [u[3 * n :] @ h for h, _ in below]
    else:
        both = np.concatenate([h for h, _ in below] + [np.zeros(n)] * (2 - len(below)))
        gates, forgets = u[: 3 * n] @ both, [u[(3 + k) * n : (4 + k) * n] @ both for k in range(len(below))]
    i, o, new = (a[: 3 * n] + gates).reshape(3, n)
    c = sigmoid(i) * np.tanh(new)
    for (_, c_k), f in zip(below, forgets, strict=True):
        c = c + sigmoid(a[3 * n :] + f) * c_k
    return sigmoid(o) * np.tanh(c), c


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_the_paper(kind, bias, rng):
    layer = TreeLSTM(3, 4, kind, bias, dtype=np.float64, init="torch", seed=1)
    x = rng.standard_normal((6, 6, 3))
    with use_backend("reference"):
        y, (h, c) = layer(x, PARENTS, lengths=LENGTHS)
    for tree, length in enumerate(LENGTHS):
        own, above = x[tree, :length], PARENTS[tree, :length]
        assert not y[tree, length:].any()
        for node in range(length):
            expected = node_by_node(layer, own, above, node)
            np.testing.assert_allclose(y[tree, node], expected[0], rtol=0, atol=1e-14)
            if above[node] < 0:
                np.testing.assert_allclose((h[tree], c[tree]), expected, rtol=0, atol=1e-14)
    assert not h[3].any() and not c[3].any()


class Fixed(Layer):
    """A TreeLSTM whose trees stand still, with the states of the roots behind those of the nodes, for `gradcheck`."""

    def __init__(self, tree):
        super().__init__()
        self.tree = tree

    def children(self):
        return {"tree": self.tree}

    def forward(self, x, *, lengths=None, rng=None):
        (y, (h, c)), pullback = self.tree.forward(x, PARENTS, lengths=lengths)
        width = y.shape[1]

        def backward(dy, grads):
            own = {}
            dx = pullback(dy[:, :width], own, dstate=(dy[:, width], dy[:, width + 1]))
            grads.update({f"tree.{name}": value for name, value in own.items()})
            return dx

        return np.concatenate([y, h[:, None], c[:, None]], axis=1), backward


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("hidden", [4, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_central_differences(kind, hidden, backend, rng):
    layer = Fixed(TreeLSTM(3, hidden, kind, dtype=np.float64, init="torch", seed=1))
    with use_backend(backend):
        result = gradcheck(layer, rng.standard_normal((6, 6, 3)), lengths=LENGTHS)
    assert result, result


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("output", ["root", "nodes"])
@pytest.mark.parametrize("kind", KINDS)
def test_central_differences_of_the_encoder(kind, output, backend):
    x, lengths = pack_trees([(0, (1, 2, 3), 4), (5, 1), 2])
    with use_backend(backend):
        result = gradcheck(TreeEncoder(6, 3, 4, kind, output, dtype=np.float64, seed=1), x, lengths=lengths)
    assert result, result


def random_trees(rng, count, width, most):
    """Return parents (N, T) of trees whose nodes stand in any order, and their lengths."""
    parents, lengths = np.full((count, width), 99), rng.integers(0, width + 1, count)
    for tree, length in enumerate(lengths):
        names, room = rng.permutation(length), []
        for k, name in enumerate(names):
            at = rng.integers(len(room)) if k else 0
            parents[tree, name] = room.pop(at) if k else -1
            room += [name] * most
    return parents, lengths


def run(layer, x, parents, lengths):
    """Return all that a forward and a backward pass give, by name."""
    rng = np.random.default_rng(3)
    (y, (h, c)), pullback = layer.forward(x, parents, lengths=lengths)
    dy, *roots = (rng.standard_normal(a.shape).astype(a.dtype) for a in (y, h, c))
    grads = {}
    dx = pullback(dy, grads, dstate=tuple(roots))
    return {"y": y, "h": h, "c": c, "dx": dx, **grads}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_native_is_the_reference(kind, hidden, dtype, isa, rng):
    layer, wide = (TreeLSTM(7, hidden, kind, dtype=d, init="torch", seed=1) for d in (dtype, np.float64))
    wide.load_state_dict(layer.state_dict())
    parents, lengths = random_trees(rng, 9, 12, 2)
    x = rng.standard_normal((9, 12, 7)).astype(dtype)
    x[np.arange(12) >= lengths[:, None]] = np.nan  # must not be looked at
    with use_backend("reference"):
        expected = run(wide, x.astype(np.float64), parents, lengths)
    found = run(layer, x, parents, lengths)
    assert not found["y"][np.arange(12) >= lengths[:, None]].any()
    for name, value in expected.items():
        assert found[name].dtype == dtype
        relative = 1e-12 if dtype == np.float64 else 8 * np.finfo(np.float32).eps * (7 + 2 * hidden) ** 0.5 * 12
        bound = relative * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)


def assert_same_bits(found, expected):
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("large", [0, 7, 199, None])
@pytest.mark.parametrize("kind", KINDS)
def test_neither_threads_nor_other_trees_change_a_bit(kind, large, rng):
    """200 small trees, or among them a large one that the others cannot be weighed up against."""
    layer = TreeLSTM(16, 70, kind, seed=1)
    parents, lengths = random_trees(rng, 200, 9, 2)
    if large is not None:
        parents = np.pad(parents, ((0, 0), (0, 291)), constant_values=99)
        parents[large] = (np.arange(300) - 1) // 2
        lengths[large] = 300
    x = rng.standard_normal((*parents.shape, 16)).astype(np.float32)
    with limit_threads(1):
        alone = run(layer, x, parents, lengths)
    for threads in (2, 3, 8):
        with limit_threads(threads):
            assert_same_bits(run(layer, x, parents, lengths), alone)
    for tree in (0, 7, 150):
        y, (h, c) = layer(x[tree : tree + 1], parents[tree : tree + 1], lengths=lengths[tree : tree + 1])
        np.testing.assert_array_equal(y[0], alone["y"][tree])
        np.testing.assert_array_equal((h[0], c[0]), (alone["h"][tree], alone["c"][tree]))


@pytest.mark.parametrize("kind", KINDS)
def test_long_calls_give_the_same_bits(kind, rng):
    """One thread needs two rounds for what two do in one."""
    layer = TreeLSTM(160, 160, kind, seed=1)
    parents, lengths = random_trees(rng, 150, 60, 2)
    x = rng.standard_normal((150, 60, 160)).astype(np.float32)
    with limit_threads(1):
        alone = run(layer, x, parents, lengths)
    with limit_threads(2):
        assert_same_bits(run(layer, x, parents, lengths), alone)


def test_callers_that_take_each_other_s_threads_get_the_same_bits(rng):
    """The pool serves one caller at a time, so that a call may have two threads in one round and one in the next."""
    layer = TreeLSTM(160, 160, seed=1)
    parents, lengths = random_trees(rng, 300, 60, 2)
    x = rng.standard_normal((300, 60, 160)).astype(np.float32)

    def call(_):
        with limit_threads(2):
            return layer(x, parents, lengths=lengths)[0]

    with limit_threads(1):
        alone = layer(x, parents, lengths=lengths)[0]
    with ThreadPoolExecutor(2) as callers:
        for found in callers.map(call, range(2)):
            np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_blas_makes_the_same_gradients(kind, packed_gemm, rng):
    layer = TreeLSTM(7, 10, kind, dtype=np.float64, seed=1)
    x = rng.standard_normal((6, 6, 7))
    expected = run(layer, x, PARENTS, LENGTHS)
    provider.set_gemm("blas")
    for name, value in run(layer, x, PARENTS, LENGTHS).items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_wide_trees_and_strided_input(kind, rng):
    """A node of more children than a block has rows, among others; x, dy and the states' gradients of any strides."""
    layer = TreeLSTM(5, 6, kind, dtype=np.float64, init="torch", seed=1)
    parents = np.array([[-1] + [0] * 299, [1, 2, -1] + [2] * 297, [-1] + [k // 150 for k in range(299)]])
    if kind == "binary":
        parents = np.stack([(np.arange(300) - 1) // 2, np.arange(-1, 299), np.append(np.arange(1, 300), -1)])
    x = rng.standard_normal((5, 300, 3)).T
    with use_backend("reference"):
        expected = run(layer, x, parents, None)
    for name, value in run(layer, x, parents, None).items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-11 * max(1, np.abs(value).max()))
    dy = rng.standard_normal((6, 300, 3)).T
    given = [layer.forward(x, parents)[1](d, {}, dstate=(s, None)) for d, s in (
        (dy, dy[:, 0]), (dy.copy(), dy[:, 0].copy()),
    )]  # fmt: skip
    np.testing.assert_array_equal(*given)


def test_memory_comes_back(packed_gemm, no_collection, rng):
    layer, x = TreeLSTM(3, 40, seed=0), rng.standard_normal((6, 6, 3))
    run(layer, x, PARENTS, LENGTHS)  # packs the weights
    before = kernels.memory_use()[1]
    run(layer, x, PARENTS, LENGTHS)
    layer(x, PARENTS, lengths=LENGTHS)
    layer.forward(x, PARENTS, lengths=LENGTHS)
    with pytest.raises(ValueError, match="got 9"):
        layer(x, PARENTS)
    assert kernels.memory_use()[1] == before


def test_what_backward_reads_cannot_be_changed(rng):
    (y, _), _ = TreeLSTM(3, 4, seed=0).forward(rng.standard_normal((6, 6, 3)), PARENTS, lengths=LENGTHS)
    with pytest.raises(ValueError, match="read-only"):
        y[0] = 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 4))
def test_the_order_of_nodes_does_not_matter(seed, most):
    """A child-sum tree is the same tree whatever its nodes are called."""
    rng = np.random.default_rng(seed)
    parents, lengths = random_trees(rng, 1, 8, most)
    n = lengths[0]
    layer, x = TreeLSTM(2, 3, dtype=np.float64, seed=0), rng.standard_normal((1, 8, 2))
    order = rng.permutation(n)
    place = np.argsort(order)
    other, moved = parents.copy(), x.copy()
    other[0, place] = np.where(parents[0, :n] < 0, -1, place[np.maximum(parents[0, :n], 0)]) if n else 0
    moved[0, place] = x[0, :n]
    one, two = layer(x, parents, lengths=lengths), layer(moved, other, lengths=lengths)
    np.testing.assert_allclose(one[1], two[1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(one[0][0, :n], two[0][0, place], rtol=0, atol=1e-14)


def test_the_sides_of_a_binary_tree_differ():
    x = np.eye(3)[None]
    for kind, same in (("child_sum", True), ("binary", False)):
        layer = TreeLSTM(3, 4, kind, seed=0)
        one, other = (layer(x[:, order], [[-1, 0, 0]])[1][0] for order in ([0, 1, 2], [0, 2, 1]))
        assert np.allclose(one, other, atol=1e-6) == same


def test_gradients_are_added_and_a_pullback_runs_once(rng):
    layer, x = TreeLSTM(3, 4, dtype=np.float64, seed=0), rng.standard_normal((6, 6, 3))
    once = run(layer, x, PARENTS, LENGTHS)
    (y, (h, c)), pullback = layer.forward(x, PARENTS, lengths=LENGTHS)
    r = np.random.default_rng(3)
    dy, dh, dc = (r.standard_normal(a.shape) for a in (y, h, c))
    grads = {name: np.ones_like(p) for name, p in layer.params.items()}
    views = dict(grads)
    pullback(dy, grads, dstate=(dh, dc))
    for name, view in views.items():
        assert grads[name] is view
        np.testing.assert_allclose(view, 1 + once[name], rtol=0, atol=1e-13)
    with pytest.raises(RuntimeError, match="called before"):
        pullback(dy, grads)
    parts = [layer.forward(x, PARENTS, lengths=LENGTHS)[1](*a, **k) for a, k in (
        ((dy, {}), {}), ((None, {}), {"dstate": (dh, None)}), ((None, {}), {"dstate": (None, dc)}),
    )]  # fmt: skip
    np.testing.assert_allclose(sum(parts), once["dx"], rtol=0, atol=1e-13)


def test_packing():
    x, lengths = pack_trees([(7, 1, [8, 2, 3]), 4, (5, (6, 0))])
    np.testing.assert_array_equal(lengths, [5, 1, 3])
    np.testing.assert_array_equal(x[0], [[7, -1], [1, 0], [8, 0], [2, 2], [3, 2]])
    np.testing.assert_array_equal(x[2], [[5, -1], [6, 0], [0, 1], [0, -1], [0, -1]])
    deep = 0
    for _ in range(5000):
        deep = (1, deep)
    assert pack_trees([deep])[1][0] == 5001
    assert pack_trees([])[0].shape == (0, 0, 2)
    for trees, error, message in (
        ([1, ()], ValueError, r"trees\[1\] has a node without a symbol"),
        ([(1, "a")], TypeError, r"trees\[0\]: symbols must be integers; got 'a'"),
        ([(1, -2)], ValueError, r"trees\[0\]: symbols must be at least 0; got -2"),
    ):
        with pytest.raises(error, match=message):
            pack_trees(trees)


@pytest.mark.parametrize(
    ("kind", "parents", "lengths", "error", "message"),
    [
        ("child_sum", [[-1, 0]], None, ValueError, r"parents must have shape \(1, 3\)"),
        ("child_sum", [[-1, 0, 0.5]], None, TypeError, "parents must be integers"),
        ("child_sum", [[-1, 0, 3]], None, ValueError, "of which tree 0 has 3; got 3"),
        ("child_sum", [[-1, 0, -2]], None, ValueError, "got -2"),
        ("child_sum", [[-1, 2, 0]], [2], ValueError, "of which tree 0 has 2; got 2"),
        ("child_sum", [[-1, -1, 0]], None, ValueError, "tree 0 has 2"),
        ("child_sum", [[1, 2, 0]], None, ValueError, "one root, whose parent is -1; tree 0 has 0"),
        ("child_sum", [[-1, 2, 1]], None, ValueError, "those of tree 0 go in a circle"),
        ("child_sum", [[-1, 0, 0]], [4], ValueError, r"lengths must lie in 0\.\.3"),
        ("binary", [[1, 0, -1]], None, ValueError, "those of tree 0 go in a circle"),
    ],
)
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_errors(backend, kind, parents, lengths, error, message):
    with use_backend(backend), pytest.raises(error, match=message):
        TreeLSTM(2, 3, kind)(np.zeros((1, 3, 2)), parents, lengths=lengths)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_too_many_children(backend):
    with use_backend(backend), pytest.raises(ValueError, match="at most 2 children; one of tree 1 has 3"):
        TreeLSTM(2, 3, "binary")(np.zeros((2, 4, 2)), [[-1, 0, 0, 1], [-1, 0, 0, 0]])


def test_more_errors():
    with pytest.raises(ValueError, match="kind must be one of child_sum, binary"):
        TreeLSTM(2, 3, "ternary")
    with pytest.raises(ValueError, match=r"x must have shape \(N, T, 2\)"):
        TreeLSTM(2, 3)(np.zeros((1, 4, 3)), [[-1, 0, 0, 0]])
    with pytest.raises(TypeError, match="x must be integers, symbol and parent"):
        TreeEncoder(2, 3, 4)(np.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match=r"x must have shape \(N, T, 2\), symbol and parent"):
        TreeEncoder(2, 3, 4)([[1, 2]])
    with pytest.raises(TypeError, match="dstate must be a pair of arrays"):
        TreeLSTM(2, 3).forward(np.zeros((1, 1, 2)), [[-1]])[1](None, {}, dstate=np.zeros((1, 3)))


def test_small_batches(rng):
    for shape in ((0, 4), (3, 0)):
        layer = TreeLSTM(2, 3, seed=0)
        found = run(layer, np.zeros((*shape, 2), np.float32), np.zeros(shape, int), None)
        assert found["y"].shape == (*shape, 3) and found["h"].shape == (shape[0], 3)
        assert not any(found[name].any() for name in layer.params)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_trees_learns_and_comes_back(kind, tmp_path):
    """The parity of the leaves, through a Trainer with trees of many sizes."""
    rng = np.random.default_rng(0)

    def grow(depth):
        return int(rng.integers(2)) if depth == 0 or rng.random() < 0.3 else (2, grow(depth - 1), grow(depth - 1))

    def parity(tree):
        return tree if isinstance(tree, int) else parity(tree[1]) ^ parity(tree[2])

    trees = [grow(2) for _ in range(400)]
    (x, lengths), label = pack_trees(trees), np.array([parity(tree) for tree in trees])
    model = Sequential(TreeEncoder(3, 8, 24, kind, seed=1), Dense(24, 2, seed=2))
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=0.02))
    trainer.fit(x[:300], label[:300], lengths=lengths[:300], epochs=25, progress=False)
    scores = trainer.predict(x[300:], lengths=lengths[300:])
    assert (scores.argmax(1) == label[300:]).mean() > 0.95
    again = load_model(save_model(model, tmp_path / "trees"))
    np.testing.assert_array_equal(again(x[300:], lengths=lengths[300:])[0], model(x[300:], lengths=lengths[300:])[0])
