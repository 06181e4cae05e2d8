"""VQ-VAE-2: codes of two and three levels and back, its loss and codebooks, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import vqvae2_digits
from genjax.families import registry
from genjax.families.base import LossInputs, Tokenizer, Weights
from genjax.typing import DataSpec

KEY = jax.random.key(0)
BY_LOSS = {"learning": "loss", "restart_threshold": 0.0}


def build(spec=None, parents=None, codebook=None, **model):
    config = vqvae2_digits.get_config("tiny")
    config.model.update(model)
    config.model.codebook.update(codebook or {})
    return registry.build(config.family, config.model.to_dict(), {}, spec or DataSpec((8, 8, 1)), parents or {})


def batch(count=6):
    return {"image": jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)}


def inputs_of(extra, **changes):
    return LossInputs({}, extra, {}, batch(), KEY, jnp.int32(0))._replace(**changes)


@pytest.fixture(scope="module", params=[(1, 1), (1, 1, 1)], ids=["two", "three"])
def parts(request):
    family = build(downs=request.param)
    params, extra = jax.jit(family.init)(KEY, batch(1))
    return family, Weights(params, extra, {})


def test_encode_then_decode_is_the_reconstruction(parts):
    family, weights = parts
    interface = family.interface
    assert isinstance(interface, Tokenizer) and interface.num_codes == 16
    assert interface.grids == ((1, 1), (2, 2), (4, 4))[-len(weights.extra) :]
    x = batch()["image"]
    encode = jax.jit(interface.encode)
    codes = encode(weights, x)
    assert [level.shape[1:] for level in codes] == list(interface.grids)
    assert all(level.dtype == jnp.int32 for level in codes)
    decoded = jax.jit(interface.decode)(weights, codes)
    np.testing.assert_allclose(decoded, jax.jit(family.reconstruct)(weights, x, KEY), atol=1e-6)
    assert decoded.shape == x.shape and jnp.abs(decoded).max() <= 1
    for whole, alone in zip(codes, encode(weights, x[2:3]), strict=True):
        np.testing.assert_array_equal(whole[2:3], alone)


def test_every_code_matters_to_the_picture(parts):
    family, weights = parts
    codes = jax.jit(family.interface.encode)(weights, batch()["image"])
    decode = jax.jit(family.interface.decode)
    whole = decode(weights, codes)
    for level in range(len(codes)):
        other = decode(weights, tuple(c + (place == level) for place, c in enumerate(codes)))
        assert not jnp.allclose(other, whole, atol=1e-4, equal_nan=True), f"level {level}"


def test_loss_sums_commitment_over_levels_and_updates_each_codebook(parts):
    family, weights = parts
    loss, outputs = jax.jit(family.players[0].loss)(weights.params["model"], inputs_of(weights.extra))
    metrics = outputs.metrics
    np.testing.assert_allclose(loss, metrics["reconstruction"] + 0.25 * metrics["commitment"], rtol=1e-5)
    levels = range(len(weights.extra))
    assert {f"{name}_{level}" for name in ("perplexity", "usage") for level in levels} < set(metrics)
    for before, after, (height, width) in zip(weights.extra, outputs.extra, family.interface.grids, strict=True):
        assert after.updates == 1 and jnp.abs(after.vectors - before.vectors).max() > 0
        assert after.sizes.sum() >= 0.0099 * 6 * height * width
    held_out = jax.jit(family.evaluate)(weights, batch(), KEY)
    assert {name: value.shape for name, value in held_out.items()} == dict.fromkeys(
        ("psnr", "reconstruction", "commitment"), (6,)
    )


def test_microbatches_pass_the_codebooks_on(parts):
    family, weights = parts
    loss = jax.jit(family.players[0].loss)
    _, first = loss(weights.params["model"], inputs_of(weights.extra))
    _, second = loss(weights.params["model"], inputs_of(first.extra))
    assert all(codebook.updates == 2 for codebook in second.extra)


def test_codebooks_by_loss_are_parameters():
    family = build(codebook=BY_LOSS)
    params, extra = jax.jit(family.init)(KEY, batch(1))
    assert extra == () and [v.shape for v in params["model"]["codebook"]] == [(16, 4)] * 2
    gradient = jax.jit(jax.grad(lambda p: family.players[0].loss(p, inputs_of(()))[0]))(params["model"])
    assert all(jnp.abs(level).max() > 0 for level in gradient["codebook"])
    codes = jax.eval_shape(family.interface.encode, Weights(params, (), {}), batch()["image"])
    assert [level.shape for level in codes] == [(6, 2, 2), (6, 4, 4)]


def test_paper_grids():
    spec = DataSpec((256, 256, 3))
    assert build(spec, downs=(2, 1)).interface.grids == ((32, 32), (64, 64))
    assert build(DataSpec((1024, 1024, 3)), downs=(3, 1, 1)).interface.grids == ((32, 32), (64, 64), (128, 128))


def test_it_draws_no_pictures(parts):
    family, weights = parts
    with pytest.raises(ValueError, match="train a prior.*vqvae2_prior_digits.py.*stages.tokenizer.workdir"):
        family.sample(weights, {"index": jnp.arange(2)}, KEY)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"downs": (2,)}, "two levels or more.*vqvae"),
        ({"downs": (1, 0)}, "each at least 1"),
        ({"downs": (2, 2)}, "pictures of 8x8 can't be halved 4 times"),
        ({"colour": "red"}, r"vqvae2 family: unknown \['colour'\]"),
        ({"parents": {"tokenizer": None}}, "vqvae2 builds on no other stage"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
