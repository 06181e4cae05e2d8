"""VQ-VAE: its loss on its own terms, both ways of learning the codebook, the tokenizer, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate
from genjax.configs import vqvae_digits
from genjax.configs.recipes import common
from genjax.core import numerics
from genjax.families import registry
from genjax.families.interfaces import Tokenizer, Weights
from genjax.training import optim
from genjax.training import state as state_lib
from genjax.training.step import Ema, make_train_step
from genjax.typing import DataSpec
from tests.families import losses

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)


def build(spec=SPEC, parents=None, codebook=None, **model):
    config = vqvae_digits.get_config("tiny")
    config.model.update(model)
    config.model.codebook.update(codebook or {})
    return registry.build(config.family, config.model.to_dict(), {}, spec, parents or {})


BY_LOSS = {"learning": "loss", "restart_threshold": 0.0}


def batch(count=8):
    return {"image": jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def weights(family):
    params, extra = jax.jit(family.init)(KEY, batch(1))
    return Weights(params, extra, {})


def test_reconstruction_is_that_of_its_own_codes(family, weights):
    x = batch()["image"]
    encode, decode = jax.jit(family.interface.encode), jax.jit(family.interface.decode)
    (codes,) = encode(weights, x)
    assert codes.shape == (8, 4, 4) and codes.dtype == jnp.int32 and codes.min() >= 0 and codes.max() < 16
    decoded = decode(weights, (codes,))
    np.testing.assert_array_equal(decoded, jax.jit(family.reconstruct)(weights, x, KEY))
    assert jnp.abs(decoded).max() <= 1
    held_out = jax.jit(family.evaluate)(weights, batch(), KEY)
    assert set(held_out) == {"psnr", "reconstruction", "commitment", "perplexity"}
    assert all(value.shape == (8,) for value in held_out.values())
    np.testing.assert_allclose(held_out["psnr"], numerics.psnr(decoded, x), rtol=1e-5)
    alone = encode(weights, x[3:4])[0]
    np.testing.assert_array_equal(alone[0], codes[3])  # no image depends on its batch
    assert jnp.isnan(decode(weights, (codes.at[0, 0, 0].set(16),))[0]).any(), "mistakes show"


def test_interface(family):
    interface = family.interface
    assert isinstance(interface, Tokenizer)
    assert (interface.num_codes, interface.grids, interface.image_shape) == (16, ((4, 4),), (8, 8, 1))
    assert build(DataSpec((8, 16, 3)), num_downs=2).interface.grids == ((2, 4),)


def test_codebook_by_averages_is_no_parameter_and_by_loss_is_nothing_else(family, weights):
    assert set(weights.params["model"]) == {"encoder", "decoder"}
    by_loss = build(codebook=BY_LOSS)
    params, extra = jax.jit(by_loss.init)(KEY, batch(1))
    assert extra == () and params["model"]["codebook"].shape == (16, 4)
    gradient = losses.gradient(by_loss, params, batch(), KEY)
    assert jnp.abs(gradient["codebook"]).max() > 0


def test_only_the_codebooks_averages_change_in_extra(family, weights):
    outputs = losses.jitted(family, weights.params, batch(), KEY, extra=weights.extra)
    assert outputs.extra.updates == 1
    assert outputs.extra.sizes.sum() >= 0.0099 * 8 * 16  # all positions; restarts add members
    assert outputs.metrics["usage"] <= 1 and outputs.metrics["perplexity"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("codebook", [{}, BY_LOSS])
def test_it_learns_a_batch(codebook):
    """Eight images, eight patterns: both codebooks take the error far below the images' variance."""
    family = build(codebook=codebook, width=16, data_variance=1.0)
    optimizers = optim.make_optimizers({"model": common.adam(1e-2).to_dict()}, family, 150)
    pattern = jnp.sign(jnp.sin(jnp.arange(8.0)[:, None, None, None] + jnp.arange(8.0)[:, None] * 0.7))
    data = {"image": jnp.broadcast_to(0.8 * pattern, (8, 8, 8, 1))}
    step = make_train_step(family, optimizers, Ema(0.0))

    @jax.jit
    def train(key):
        state = state_lib.make_init(family, optimizers, keep_ema=False)(key, data)
        return jax.lax.scan(lambda state, _: step(state, data, (), key), state, length=150)

    _, metrics = train(KEY)
    assert metrics["model/reconstruction"][-1] < 0.1 * jnp.var(data["image"])
    assert metrics["model/psnr"][-1] > metrics["model/psnr"][0] + 10


def test_it_draws_no_images(family, weights):
    with pytest.raises(ValueError, match="train a prior.*vqvae_prior_digits.py.*stages.tokenizer.workdir"):
        generate.require_sampler(family.interface, "vqvae")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_downs": 4}, "images of 8x8 can't be halved 4 times"),
        ({"codebook": {"learning": "osmosis"}}, "unknown codebook learning 'osmosis'"),
        ({"codebook": {"learning": "loss"}}, "restart_threshold=0.1 needs a codebook"),
        ({"colour": "red"}, r"vqvae family: unknown \['colour'\]"),
        ({"parents": {"tokenizer": None}}, "vqvae builds on no other stage"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
