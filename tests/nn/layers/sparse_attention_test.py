"""DALL-E's attention patterns: against the paper's words, position by position, and in every block of a transformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers import sparse_attention
from genjax.nn.transformer import Transformer

PREFIX, HEIGHT, WIDTH = 6, 4, 4
LENGTH = PREFIX + HEIGHT * WIDTH
"""The stream of the paper's figure 11."""


def brute_force(kind, query, key, prefix, width, kernel_size):
    """Appendix B.1 and figure 11 in words, for one pair of positions."""
    if key > query:
        return False
    if query < prefix or key < prefix:  # "each image token can attend to all text tokens"; text is causal
        return True
    query, key = query - prefix, key - prefix
    if kind == "row":  # "the last token being attended to is the one in the same column of the previous row"
        return key in range(query - width, query + 1)
    if kind == "column":
        return key % width == query % width
    if kind == "conv":  # a kernel around the query, "with wraparound behavior": in raster order
        half = kernel_size // 2
        return key in {query + width * i + j for i in range(-half, 1) for j in range(-half, half + 1)}
    return True


@pytest.mark.parametrize("kind", sparse_attention.KINDS)
@pytest.mark.parametrize(("height", "width", "kernel_size"), [(4, 4, 3), (3, 5, 5), (6, 4, 11)])
def test_patterns_are_the_paper_s(kind, height, width, kernel_size):
    positions = np.arange(PREFIX + height * width)
    pattern = sparse_attention.Sees(kind, PREFIX, width, kernel_size)
    mask = pattern(positions, positions)
    assert isinstance(mask, np.ndarray)
    np.testing.assert_array_equal(pattern(jnp.asarray(positions), jnp.asarray(positions)), mask)
    for query in range(len(positions)):
        expected = [brute_force(kind, query, key, PREFIX, width, kernel_size) for key in range(len(positions))]
        np.testing.assert_array_equal(mask[query], expected, err_msg=f"{kind}, query {query}")


def test_a_row_of_figure_11_sees_five_codes():
    positions = jnp.arange(LENGTH)
    mask = sparse_attention.Sees("row", PREFIX, WIDTH, 3)(positions, positions)
    assert int(mask[PREFIX + 9, PREFIX:].sum()) == 5
    assert mask[PREFIX + 9, :PREFIX].all()


def test_the_order_of_layers_is_the_paper_s():
    """ "The first four self-attention layers respectively use row, column, row, row attention.\""""
    patterns = sparse_attention.patterns("sparse", 64, 257, 32)
    kinds = [pattern.kind for pattern in patterns]
    assert kinds[:8] == ["row", "column", "row", "row", "row", "column", "row", "row"]
    assert kinds[-1] == "conv" and kinds.count("conv") == 1 and kinds.count("column") == 16
    assert {pattern.kind for pattern in sparse_attention.patterns("dense", 5, 257, 32)} == {"dense"}


def test_blocks_of_a_transformer_have_their_own_patterns():
    """With one block at a time alive, a position depends on what that block's pattern lets it see."""
    patterns = sparse_attention.patterns("sparse", 3, PREFIX, WIDTH, 3)
    trunk = Transformer(depth=3, width=8, num_heads=2, patterns=patterns)
    x = jax.random.normal(jax.random.key(0), (1, LENGTH, 8))
    params = jax.jit(trunk.init)(jax.random.key(1), x)["params"]
    silent = jax.tree.map(jnp.zeros_like, {name: params["block_0"][name] for name in ("proj_out", "mlp_out")})
    positions = jnp.arange(LENGTH)

    @jax.jit
    def dependence(params):
        jacobian = jax.jacrev(lambda x: trunk.apply({"params": params}, x)[0].sum(-1) ** 2)(x)
        return jnp.abs(jacobian).max(axis=(1, 3)) > 0

    params = jax.tree.map(lambda leaf: leaf + 0.1 * np.random.default_rng(0).standard_normal(leaf.shape), params)
    for alive, pattern in enumerate(patterns):
        quiet = {f"block_{i}": {**params[f"block_{i}"], **silent} for i in range(3) if i != alive}
        np.testing.assert_array_equal(dependence({**params, **quiet}), pattern(positions, positions))


def test_cached_passes_are_the_whole_pass():
    patterns = sparse_attention.patterns("sparse", 3, PREFIX, WIDTH, 3)
    trunk = Transformer(depth=3, width=8, num_heads=2, patterns=patterns)
    x = jax.random.normal(jax.random.key(0), (2, LENGTH, 8))
    variables = jax.jit(trunk.init)(jax.random.key(1), x)

    @jax.jit
    def in_parts(variables):
        cache, parts = trunk.apply(variables, 2, LENGTH, method="init_cache"), []
        for start, stop in ((0, PREFIX - 1), (PREFIX - 1, 9), (9, 10), (10, LENGTH)):
            y, cache = trunk.apply(variables, x[:, start:stop], cache, start, method="extend")
            parts.append(y)
        return jnp.concatenate(parts, axis=1)

    np.testing.assert_allclose(in_parts(variables), jax.jit(trunk.apply)(variables, x), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sparse_attention.patterns("diagonal", 2, 3, 4), "'diagonal'"),
        (lambda: sparse_attention.Sees("rows", 3, 4, 3), "'rows'"),
        (lambda: sparse_attention.Sees("conv", 3, 4, 4), "kernel_size=4"),
        (
            lambda: Transformer(1, 8, 2, patterns=sparse_attention.patterns("sparse", 1, 3, 4)).init(
                jax.random.key(0), jnp.zeros((1, 5, 8)), jnp.ones((5, 5), bool)
            ),
            "takes no mask",
        ),
    ],
)
def test_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()
