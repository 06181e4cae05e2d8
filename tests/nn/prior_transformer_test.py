import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn import prior_transformer
from genjax.nn.prior_transformer import PriorTransformer


def test_mask_is_causal_and_hides_padding():
    mask = prior_transformer.visible(jnp.array([[True, False]]))[0, 0]
    expected = np.tril(np.ones((6, 6), bool))
    expected[2:, 1] = False
    np.testing.assert_array_equal(mask, expected)


def test_padding_does_not_matter_and_all_else_does():
    network = PriorTransformer(4, width=8, depth=1, num_heads=2)
    rng = np.random.default_rng(0)
    inputs = {
        "noisy": jnp.asarray(rng.normal(size=(2, 4)), jnp.float32),
        "t": jnp.array([3.0, 700.0]),
        "states": jnp.asarray(rng.normal(size=(2, 3, 5)), jnp.float32),
        "mask": jnp.array([[True, False, False], [False, False, False]]),
        "text_embed": jnp.asarray(rng.normal(size=(2, 4)), jnp.float32),
    }
    variables = jax.jit(network.init)(jax.random.key(0), **inputs)
    run = jax.jit(lambda inputs: network.apply(variables, **inputs))
    before = run(inputs)
    np.testing.assert_allclose(run({**inputs, "states": inputs["states"].at[:, 1:].add(1.0)}), before, atol=1e-6)
    for name in ("noisy", "t", "text_embed"):
        assert np.abs(run({**inputs, name: inputs[name] + 1.0}) - before).max(axis=1).min() > 1e-6
    # The second caption is empty: it says nothing.
    told = np.abs(run({**inputs, "states": inputs["states"] + 1.0}) - before).max(axis=1)
    assert told[0] > 1e-6 and told[1] < 1e-6
