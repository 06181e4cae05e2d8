import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.embedding_code_transformer import EmbeddingCodeTransformer
from tests.nn import code_network_cases as cases


@pytest.fixture(scope="module")
def case():
    """(network, variables, codes, caption)."""
    network = EmbeddingCodeTransformer(5, 6, 4, 3, width=8, depth=2, num_heads=2)
    rng = np.random.default_rng(0)
    codes = jnp.asarray(rng.integers(0, 6, (2, 5)), jnp.int32)
    states, text = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3, 7), (2, 9)))
    mask, dot = jnp.array([[True, True, False], [True, True, True]]), jnp.array([4, 1])
    caption = (states, mask, text, dot)
    return network, {"params": cases.random_params(network, (codes, *caption))}, codes, caption


def test_steps_equal_the_whole_pass(case):
    network, variables, codes, caption = case
    at_once = jax.jit(network.apply)(variables, codes, *caption)

    @jax.jit
    def one_by_one(codes):
        cache = network.apply(variables, *caption, method="start")

        def body(cache, position):
            logits, cache = network.apply(variables, cache, codes[:, position - 1], position, method="step")
            return cache, logits

        return jax.lax.scan(body, cache, jnp.arange(5))[1].swapaxes(0, 1)

    np.testing.assert_allclose(one_by_one(codes), at_once, atol=2e-5)


def test_what_each_code_depends_on(case):
    """Codes before it and the caption, but no padding."""
    network, variables, codes, (states, mask, text, dot) = case
    run = jax.jit(lambda codes, states, dot: network.apply(variables, codes, states, mask, text, dot))
    logits = run(codes, states, dot)
    changed = run(codes.at[:, 2].add(1) % 6, states, dot)
    moved = np.abs(changed - logits).max(axis=(0, 2)) > 1e-6
    assert moved.tolist() == [False, False, False, True, True]
    assert (np.abs(run(codes, states, (dot + 1) % 5) - logits).max(axis=(1, 2)) > 1e-6).all()
    other = run(codes, states.at[:, 2].add(1.0), dot)
    np.testing.assert_allclose(other[0], logits[0], atol=1e-6)
    assert np.abs(other[1] - logits[1]).max() > 1e-6
