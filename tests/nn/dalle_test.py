"""The stream of text and codes: what each logit depends on, the cache, and padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.autoregressive import sample
from genjax.nn.dalle import DalleTransformer
from tests.nn import code_network_cases as cases

S, N, V, K = 4, 9, 6, 7
"""Tokens of a text, codes of a grid, and their vocabularies."""


def network(**changes):
    fields = {"vocab_size": V, "text_length": S, "num_codes": K, "grid": (3, 3), "kernel_size": 3}
    return DalleTransformer(**{**fields, "width": 16, "depth": 3, "num_heads": 2, **changes})


@pytest.fixture(scope="module")
def inputs():
    """Texts, one of them with padding at its end, and codes."""
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(1, V, (3, S)), jnp.int32).at[1, 2:].set(0)
    return tokens, jnp.asarray(rng.integers(0, K, (3, 3, 3)), jnp.int32)


@pytest.fixture(scope="module")
def params(inputs):
    return cases.random_params(network(), inputs)


def dependence(params, tokens, codes, **changes):
    """[s + n, s + n] whether the logits of one position depend on the token or code of another, by gradients."""
    one_hot = {"text_embed": jax.nn.one_hot(tokens[:1], V), "code_embed": jax.nn.one_hot(codes[:1].reshape(1, N), K)}
    direction = jax.random.normal(jax.random.key(1), (K,))

    def projected(one_hot):
        def embed(next_fun, args, kwargs, of):
            if isinstance(of.module, nn.Embed) and of.method_name == "__call__":
                return one_hot[of.module.name][:, : args[0].shape[1]] @ of.module.embedding
            return next_fun(*args, **kwargs)

        with nn.intercept_methods(embed):
            text, image = network(**changes).apply({"params": params}, tokens[:1], codes[:1])
        return jnp.concatenate([(text @ direction[:V])[0], (image @ direction).reshape(N)])

    jacobian = jax.jit(jax.jacrev(projected))(one_hot)
    parts = [np.abs(np.asarray(jacobian[name])).max(axis=(1, 3)) for name in ("text_embed", "code_embed")]
    return np.concatenate(parts, axis=1) > 0


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_logits_depend_on_all_that_is_before_and_on_nothing_else(params, inputs, attention):
    before = np.tril(np.ones((S + N, S + N), bool), -1)
    np.testing.assert_array_equal(dependence(params, *inputs, attention=attention), before)


def decoder(params, tokens):
    variables = {"params": params}
    cache = network().apply(variables, tokens, method="start")
    return cache, lambda *inputs: network().apply(variables, *inputs, method="step")


def test_steps_are_the_whole_pass(params, inputs):
    tokens, codes = inputs
    flat = codes.reshape(3, N)

    @jax.jit
    def walk(params):
        cache, step = decoder(params, tokens)

        def body(cache, at):
            logits, cache = step(cache, flat[:, at - 1], at)
            return cache, logits

        return jax.lax.scan(body, cache, jnp.arange(N))[1].swapaxes(0, 1)

    whole = jax.jit(network().apply)({"params": params}, *inputs)[1].reshape(3, N, K)
    np.testing.assert_allclose(walk(params), whole, atol=2e-5)


def test_cached_drawing_is_uncached_drawing_code_for_code(params, inputs):
    tokens, keys = inputs[0], jax.random.split(jax.random.key(2), 3)

    def whole(codes):
        return network().apply({"params": params}, tokens, codes.reshape(3, 3, 3))[1].reshape(3, N, K)

    @jax.jit
    def draw(params):
        cache, step = decoder(params, tokens)
        naive_cache, naive_step = sample.uncached(whole, 3, N)
        return sample.decode(step, cache, N, keys), sample.decode(naive_step, naive_cache, N, keys)

    cached, naive = draw(params)
    np.testing.assert_array_equal(cached, naive)
    assert len(np.unique(cached)) > 3


def test_padding_is_a_vector_of_each_position_and_its_token_none(params, inputs):
    tokens, codes = inputs
    apply = jax.jit(lambda params: network().apply({"params": params}, tokens, codes)[1])

    def moved(name, row):
        table = params[name]["embedding"] if name == "text_embed" else params[name]
        table = table.at[row].add(jnp.arange(16.0))  # no constant, which norms take away
        other = {**params, name: {"embedding": table} if name == "text_embed" else table}
        return np.abs(np.asarray(apply(other) - apply(params))).max(axis=(1, 2, 3)) > 1e-6

    assert not moved("text_embed", 0).any(), "token 0 has no vector of its own"
    assert not moved("padding", 1).any(), "only padding is padded"
    for position in (2, 3):
        np.testing.assert_array_equal(moved("padding", position), [False, True, False])
