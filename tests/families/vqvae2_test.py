"""VQ-VAE-2: codes of two and three levels and back, its loss and codebooks, refusals."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate
from genjax.configs import vqvae2_digits
from genjax.families import registry
from genjax.families.interfaces import Tokenizer, Weights
from genjax.nn import hierarchy
from genjax.typing import DataSpec
from tests.families import losses, one_layer, perturbed
from tests.families.draws import draws, repeated

KEY = jax.random.key(0)
BY_LOSS = {"learning": "loss", "restart_threshold": 0.0}


def build(spec=None, parents=None, codebook=None, **model):
    config = vqvae2_digits.get_config("tiny")
    config.model.update(model)
    config.model.codebook.update(codebook or {})
    return registry.build(config.family, config.model.to_dict(), {}, spec or DataSpec((8, 8, 1)), parents or {})


def batch(count=6):
    return {"image": jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)}


@pytest.fixture(
    scope="module", params=[pytest.param((1, 1), id="two", marks=pytest.mark.slow), pytest.param((1, 1, 1), id="three")]
)
def parts(request):
    family = build(downs=request.param, num_res_blocks=0)
    return family, perturbed.noise(family, batch(1), scale=0.3)


@pytest.fixture(scope="module")
def run(parts):
    """The parts of the interface, compiled."""
    family, _ = parts
    return SimpleNamespace(
        encode=jax.jit(family.interface.encode),
        decode=jax.jit(family.interface.decode),
        reconstruct=jax.jit(family.reconstruct),
    )


def test_encode_then_decode_is_the_reconstruction(parts, run):
    family, weights = parts
    interface = family.interface
    assert isinstance(interface, Tokenizer) and interface.num_codes == 16
    assert interface.grids == ((1, 1), (2, 2), (4, 4))[-len(weights.extra) :]
    x = batch()["image"]
    codes = run.encode(weights, x)
    assert [level.shape[1:] for level in codes] == list(interface.grids)
    assert all(level.dtype == jnp.int32 for level in codes)
    decoded = run.decode(weights, codes)
    np.testing.assert_allclose(decoded, run.reconstruct(weights, x, KEY), atol=1e-6)
    assert decoded.shape == x.shape and jnp.abs(decoded).max() <= 1
    for whole, moved in zip(codes, run.encode(weights, jnp.concatenate([x[2:], -x[:2]])), strict=True):
        np.testing.assert_array_equal(whole[2:], moved[:4])


def test_every_code_matters_to_the_image(parts, run):
    _, weights = parts
    codes = run.encode(weights, batch()["image"])
    whole = run.decode(weights, codes)
    for level in range(len(codes)):
        other = run.decode(weights, tuple(c + (place == level) for place, c in enumerate(codes)))
        assert not jnp.allclose(other, whole, atol=1e-4, equal_nan=True), f"level {level}"


def by_hand(network, params, vectors):
    """(x, x_hat, [(z, z_q) of each level]) in float64, of the network as it stands."""
    x = batch()["image"]
    x_hat, quantized = jax.jit(network.apply)({"params": params}, x, vectors)
    wide = [tuple(np.asarray(part, np.float64) for part in (level.z, level.z_q)) for level in quantized]
    return np.asarray(x, np.float64), np.asarray(x_hat, np.float64), wide


@pytest.mark.parametrize("learning", ["ema", "loss"])
def test_the_loss_is_the_formula_and_every_part_of_the_network_learns_from_the_reconstruction(learning, monkeypatch):
    """Three levels: mean squared error / variance + cost sum_l |z - z_q|^2, and again for vectors that learn by it."""
    monkeypatch.setattr(hierarchy, "Encoder", one_layer.Encoder)
    monkeypatch.setattr(hierarchy, "Decoder", one_layer.Decoder)
    codebook = {"learning": learning, "restart_threshold": 0.0, "decay": 0.8}
    family = build(downs=(1, 1, 1), codebook=codebook, commitment_cost=0.7, data_variance=0.3)
    params, extra, *_ = perturbed.noise(family, batch(1), scale=0.3)
    network = hierarchy.Hierarchy(1, (1, 1, 1), 4, width=8, num_res_blocks=1, res_width=4)
    vectors = tuple(params["model"]["codebook"] if learning == "loss" else (level.vectors for level in extra))
    x, x_hat, levels = by_hand(network, params["model"]["network"], vectors)
    found = losses.jitted(family, params, batch(), KEY, extra=extra)
    distance = sum(np.mean((z - z_q) ** 2) for z, z_q in levels)
    expected = np.mean((x_hat - x) ** 2) / 0.3 + (1.7 if learning == "loss" else 0.7) * distance
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["commitment"], distance, rtol=1e-5)
    free = build(downs=(1, 1, 1), codebook=codebook, commitment_cost=0.0, data_variance=0.3)
    gradient = losses.gradient(free, params, batch(), KEY, extra=extra)
    for name, part in gradient["network"].items():
        assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(part)) > 0, name
    if learning == "loss":
        for (z, z_q), before, got in zip(levels, vectors, gradient["codebook"], strict=True):
            members = (z_q.reshape(-1, 1, 4) == np.asarray(before, np.float64)).all(-1)
            expected = members.T @ (2 * (z_q - z).reshape(-1, 4) / z.size)
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)
    else:
        for (z, z_q), before, after in zip(levels, vectors, found.extra, strict=True):
            members = (z_q.reshape(-1, 1, 4) == np.asarray(before, np.float64)).all(-1)
            np.testing.assert_allclose(after.sizes, 0.2 * members.sum(0), rtol=1e-5)
            np.testing.assert_allclose(after.sums, 0.2 * members.T @ z.reshape(-1, 4), rtol=1e-4, atol=1e-5)


def test_metrics_name_their_level_and_evaluation_is_of_each_example(parts, run):
    family, weights = parts
    found = losses.jitted(family, weights.params, batch(), KEY, extra=weights.extra)
    codes = run.encode(weights, batch()["image"])
    for level, grid in enumerate(codes):
        share = np.bincount(np.asarray(grid).ravel(), minlength=16) / grid.size
        np.testing.assert_allclose(found.metrics[f"usage_{level}"], (share > 0).mean(), rtol=1e-5)
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        np.testing.assert_allclose(found.metrics[f"perplexity_{level}"], np.exp(entropy), rtol=1e-4)
    held_out = jax.jit(family.evaluate)(weights, batch(), KEY)
    assert set(held_out) == {"psnr", "reconstruction", "commitment"}
    shown = run.reconstruct(weights, batch()["image"], KEY)
    error = np.square(np.asarray(shown) - np.asarray(batch()["image"])).mean((1, 2, 3))
    np.testing.assert_allclose(held_out["reconstruction"], error / 0.564, rtol=1e-4)
    np.testing.assert_allclose(held_out["psnr"], 10 * np.log10(4 / error), rtol=1e-4)
    np.testing.assert_allclose(held_out["commitment"].mean(), found.metrics["commitment"], rtol=1e-4)


def test_dead_codes_of_each_level_restart_by_a_key_of_their_own(parts):
    (family, weights), data = parts, batch()

    def averages(key):
        return losses.compute(family, weights.params, data, key, extra=weights.extra).extra

    found = draws(averages, KEY)
    assert len({draw.key for draw in found}) >= len(weights.extra) and not repeated(found)


def test_a_second_batch_moves_the_codebooks_on(parts):
    family, weights = parts
    first = losses.jitted(family, weights.params, batch(), KEY, extra=weights.extra)
    second = losses.jitted(family, weights.params, batch(), KEY, extra=first.extra)
    assert all(codebook.updates == 2 for codebook in second.extra)


def test_codebooks_by_loss_are_parameters():
    family = build(codebook=BY_LOSS)
    params, extra = jax.eval_shape(family.init, KEY, batch(1))
    assert extra == () and [v.shape for v in params["model"]["codebook"]] == [(16, 4)] * 2
    codes = jax.eval_shape(family.interface.encode, Weights(params, (), {}), batch()["image"])
    assert [level.shape for level in codes] == [(6, 2, 2), (6, 4, 4)]


def test_paper_grids():
    spec = DataSpec((256, 256, 3))
    assert build(spec, downs=(2, 1)).interface.grids == ((32, 32), (64, 64))
    assert build(DataSpec((1024, 1024, 3)), downs=(3, 1, 1)).interface.grids == ((32, 32), (64, 64), (128, 128))


def test_it_draws_no_images(parts):
    family, weights = parts
    with pytest.raises(ValueError, match="train a prior.*vqvae2_prior_digits.py.*stages.tokenizer.workdir"):
        generate.require_sampler(family.interface, "vqvae2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"downs": (2,)}, "two levels or more.*vqvae"),
        ({"downs": (1, 0)}, "each at least 1"),
        ({"downs": (2, 2)}, "images of 8x8 can't be halved 4 times"),
        ({"colour": "red"}, r"vqvae2 family: unknown \['colour'\]"),
        ({"parents": {"tokenizer": None}}, "vqvae2 builds on no other stage"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
