"""Decoding: it draws from the chain that the step describes, sample by sample, known tokens kept."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.autoregressive import sample

K, N = 5, 6
TABLE = jnp.asarray(np.random.default_rng(0).normal(0, 1.5, (N, K, K)), jnp.float32)
START = jnp.asarray(np.random.default_rng(1).normal(0, 1.5, (K,)), jnp.float32)


def step(cache, token, position):
    """An inhomogeneous Markov chain; its cache counts steps."""
    logits = jnp.where(position == 0, START, TABLE[position, token])
    return jnp.broadcast_to(logits, (*token.shape, K)), cache + 1


def forward(tokens):
    """The same chain, of whole sequences."""
    later = TABLE[jnp.arange(1, N), tokens[:, :-1]]
    return jnp.concatenate([jnp.broadcast_to(START, (len(tokens), 1, K)), later], axis=1)


def keys(count, seed=0):
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(count))


def test_draws_the_chain():
    tokens = np.asarray(sample.decode(step, jnp.int32(0), N, keys(20_000)))
    marginal = np.asarray(jax.nn.softmax(START), np.float64)
    for position in range(N):
        if position:
            marginal = marginal @ np.asarray(jax.nn.softmax(TABLE[position]), np.float64)
        observed = np.bincount(tokens[:, position], minlength=K) / len(tokens)
        assert np.abs(observed - marginal).max() < 5 * np.sqrt(0.25 / len(tokens)), position
    pairs = np.bincount(tokens[tokens[:, 2] == 1][:, 3], minlength=K) / (tokens[:, 2] == 1).sum()
    np.testing.assert_allclose(pairs, jax.nn.softmax(TABLE[3, 1]), atol=0.04)


def test_whole_passes_draw_the_same_tokens():
    cache, whole = sample.uncached(forward, 50, N)
    np.testing.assert_array_equal(
        sample.decode(whole, cache, N, keys(50)), sample.decode(step, jnp.int32(0), N, keys(50))
    )


def test_a_sample_does_not_depend_on_the_batch():
    together = sample.decode(step, jnp.int32(0), N, keys(9), temperature=0.9, top_k=4, top_p=0.95)
    alone = sample.decode(step, jnp.int32(0), N, keys(9)[4:5], temperature=0.9, top_k=4, top_p=0.95)
    np.testing.assert_array_equal(together[4:5], alone)


def test_greedy_follows_the_likeliest():
    tokens = sample.decode(step, jnp.int32(0), N, keys(3), temperature=0.0)
    expected = [int(START.argmax())]
    for position in range(1, N):
        expected.append(int(TABLE[position, expected[-1]].argmax()))
    np.testing.assert_array_equal(tokens, np.tile(expected, (3, 1)))
    np.testing.assert_array_equal(sample.decode(step, jnp.int32(0), N, keys(3), top_k=1), tokens)


def test_known_tokens_are_kept_and_followed():
    given = jnp.tile(jnp.array([3, 0, 0, 1, 0, 0]), (20_000, 1))
    mask = jnp.tile(jnp.array([True, False, False, True, False, False]), (20_000, 1))
    tokens = np.asarray(sample.decode(step, jnp.int32(0), N, keys(20_000), known=sample.Known(given, mask)))
    assert (tokens[:, 0] == 3).all() and (tokens[:, 3] == 1).all()
    np.testing.assert_allclose(np.bincount(tokens[:, 1], minlength=K) / 20_000, jax.nn.softmax(TABLE[1, 3]), atol=0.018)
    np.testing.assert_allclose(np.bincount(tokens[:, 4], minlength=K) / 20_000, jax.nn.softmax(TABLE[4, 1]), atol=0.018)


def test_a_prefix_is_gone_on_from():
    whole = sample.decode(step, jnp.int32(0), N, keys(30))
    rest = sample.decode(step, jnp.int32(2), N - 2, keys(30), start=2, previous=whole[:, 1])
    np.testing.assert_array_equal(rest, whole[:, 2:])


def test_guidance_of_two_halves():
    def paired(cache, token, position):
        half = jnp.arange(token.shape[0]) < token.shape[0] // 2
        logits, cache = step(cache, token, position)
        return jnp.where(half[:, None], logits, 0.3 * logits[:, ::-1]), cache

    at_one = sample.decode(paired, jnp.int32(0), N, keys(40), guidance_scale=1.0)
    np.testing.assert_array_equal(at_one, sample.decode(step, jnp.int32(0), N, keys(40)))
    logits = jnp.stack([START, 0.3 * START[::-1]])
    expected = jax.nn.softmax(2.5 * logits[0] - 1.5 * logits[1])
    first = sample.decode(paired, jnp.int32(0), 1, keys(20_000), guidance_scale=2.5)[:, 0]
    np.testing.assert_allclose(np.bincount(first, minlength=K) / 20_000, expected, atol=0.018)


def test_other_settings_do_not_recompile():
    count = 0

    @jax.jit
    def draw(keys, temperature, top_k, top_p, scale):
        nonlocal count
        count += 1
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": scale}
        return sample.decode(step_of_pairs, jnp.int32(0), N, keys, **settings)

    def step_of_pairs(cache, token, position):
        return step(cache, token, position)

    results = [draw(keys(8), *map(jnp.float32, settings)) for settings in [(1, 0, 1, 1), (0.5, 2, 0.9, 3)]]
    assert count == 1
    assert not (results[0] == results[1]).all()
