"""VQ-VAE's loss, gradients and codebook in float64: one layer to vectors of 2x2 pixels, and one back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families import registry, vqvae
from genjax.families.interfaces import Weights
from genjax.typing import DataSpec
from tests.families import losses, one_layer
from tests.families.draws import draws, repeated

KEY = jax.random.key(1)
K, D = 6, 3


@pytest.fixture(autouse=True)
def layers(monkeypatch):
    monkeypatch.setattr(vqvae.coders, "Encoder", one_layer.Encoder)
    monkeypatch.setattr(vqvae.coders, "Decoder", one_layer.Decoder)


def build(codebook=(), **model):
    codebook = {"num_codes": K, "dim": D, "learning": "loss"} | dict(codebook)
    model = {"codebook": codebook, "num_downs": 1, "commitment_cost": 0.7, "data_variance": 0.3} | model
    return registry.build("vqvae", model, {}, DataSpec((4, 4, 1)))


class ByHand:
    """Everything that the loss is made of, in float64."""

    def __init__(self, count=5, cost=0.7, variance=0.3):
        rng = np.random.default_rng(0)
        self.x = rng.uniform(-1, 1, (count, 4, 4, 1))
        self.encoder, self.decoder = rng.normal(size=(4, D)), rng.normal(size=(D, 4))
        self.vectors = rng.normal(size=(K, D))
        self.cost, self.variance = cost, variance
        self.patches = self.x.reshape(count, 2, 2, 2, 2).swapaxes(2, 3).reshape(-1, 4)
        self.z = self.patches @ self.encoder
        self.codes = ((self.z[:, None] - self.vectors) ** 2).sum(-1).argmin(1)
        self.z_q = self.vectors[self.codes]
        self.error = self.z_q @ self.decoder - self.patches
        self.reconstruction = (self.error**2).mean() / variance
        self.distance = ((self.z - self.z_q) ** 2).mean()

    @property
    def params(self):
        layers = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: {"layer": {"kernel": jnp.asarray(kernel, jnp.float32)}} for name, kernel in layers.items()}

    @property
    def batch(self):
        return {"image": jnp.asarray(self.x, jnp.float32)}

    @property
    def codebook(self):
        return jnp.asarray(self.vectors, jnp.float32)

    def gradients(self):
        """Of encoder (straight through), decoder and, if they learn by loss, the vectors."""
        of_output = 2 * self.error / self.error.size / self.variance
        of_z = of_output @ self.decoder.T + self.cost * 2 * (self.z - self.z_q) / self.z.size
        members = np.eye(K)[self.codes]
        of_vectors = members.T @ (2 * (self.z_q - self.z) / self.z.size)
        return self.patches.T @ of_z, self.z_q.T @ of_output, of_vectors


def test_a_codebook_by_loss_the_value_and_every_gradient():
    """Reconstruction moves encoder and decoder, commitment the encoder, and only the last term the vectors."""
    hand, family = ByHand(), build()
    params = {"model": {**hand.params, "codebook": hand.codebook}}
    found = losses.jitted(family, params, hand.batch, KEY)
    np.testing.assert_allclose(found.value, hand.reconstruction + (0.7 + 1) * hand.distance, rtol=1e-5)
    got = losses.gradient(family, params, hand.batch, KEY)
    encoder, decoder, vectors = hand.gradients()
    np.testing.assert_allclose(got["encoder"]["layer"]["kernel"], encoder, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(got["decoder"]["layer"]["kernel"], decoder, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(got["codebook"], vectors, rtol=1e-3, atol=1e-6)
    assert found.extra == ()


def test_a_codebook_by_averages_the_value_the_gradient_and_the_averages():
    hand = ByHand()
    family = build(codebook={"learning": "ema", "decay": 0.8, "epsilon": 1e-3})
    fresh = jax.jit(family.init)(KEY, hand.batch)[1]
    extra = fresh._replace(vectors=hand.codebook)
    found = losses.jitted(family, {"model": hand.params}, hand.batch, KEY, extra=extra)
    np.testing.assert_allclose(found.value, hand.reconstruction + 0.7 * hand.distance, rtol=1e-5)
    got = losses.gradient(family, {"model": hand.params}, hand.batch, KEY, extra=extra)
    np.testing.assert_allclose(got["encoder"]["layer"]["kernel"], hand.gradients()[0], rtol=1e-3, atol=1e-5)
    sizes = np.bincount(hand.codes, minlength=K)
    smoothed = (sizes + 1e-3) / (sizes.sum() + K * 1e-3) * sizes.sum()
    sums = np.eye(K)[hand.codes].T @ hand.z
    np.testing.assert_allclose(found.extra.vectors, sums / smoothed[:, None], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.extra.sizes, 0.2 * sizes, rtol=1e-5)
    assert found.extra.updates == 1


def test_metrics_and_evaluation_are_of_the_vectors_in_use():
    hand = ByHand(count=2)
    family = build(codebook={"learning": "ema"})
    extra = jax.jit(family.init)(KEY, hand.batch)[1]._replace(vectors=hand.codebook)
    found = losses.jitted(family, {"model": hand.params}, hand.batch, KEY, extra=extra).metrics
    shares = np.bincount(hand.codes, minlength=K) / len(hand.codes)
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
    assert (shares == 0).any()
    np.testing.assert_allclose(found["perplexity"], np.exp(entropy), rtol=1e-5)
    np.testing.assert_allclose(found["usage"], (shares > 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["reconstruction"], hand.reconstruction, rtol=1e-5)
    np.testing.assert_allclose(found["commitment"], hand.distance, rtol=1e-5)
    clipped = np.clip(hand.z_q @ hand.decoder, -1, 1)
    squared = ((clipped - hand.patches) ** 2).reshape(2, -1).mean(1)
    np.testing.assert_allclose(found["psnr"], (10 * np.log10(4 / squared)).mean(), rtol=1e-5)
    held_out = jax.jit(family.evaluate)(Weights({"model": hand.params}, extra, {}), hand.batch, KEY)
    np.testing.assert_allclose(held_out["psnr"], 10 * np.log10(4 / squared), rtol=1e-5)
    np.testing.assert_allclose(held_out["reconstruction"], squared / 0.3, rtol=1e-5)
    distance = ((hand.z - hand.z_q) ** 2).reshape(2, -1).mean(1)
    np.testing.assert_allclose(held_out["commitment"], distance, rtol=1e-5)
    own = [np.bincount(codes, minlength=K) / 4 for codes in hand.codes.reshape(2, 4)]
    expected = [np.exp(-(share[share > 0] * np.log(share[share > 0])).sum()) for share in own]
    np.testing.assert_allclose(held_out["perplexity"], expected, rtol=1e-5)


def test_codes_below_a_share_of_the_mean_size_are_dead_and_the_others_are_the_means_of_their_members():
    """A code with seven members is below .6 of the mean, which is far from 1."""
    hand = ByHand(count=40)
    hand.vectors[4:] = [[100.0] * D, [-100.0] * D]  # no members at all
    hand.codes = ((hand.z[:, None] - hand.vectors) ** 2).sum(-1).argmin(1)
    sizes = np.bincount(hand.codes, minlength=K)
    family = build(codebook={"learning": "ema", "restart_threshold": 0.6, "decay": 0.5, "epsilon": 1e-9})
    extra = jax.jit(family.init)(KEY, hand.batch)[1]._replace(vectors=hand.codebook)
    after = losses.jitted(family, {"model": hand.params}, hand.batch, KEY, extra=extra).extra
    dead = sizes < 0.6 * sizes.mean()
    assert 1 < sizes[dead].max() and not dead.all()
    means = np.eye(K)[hand.codes].T @ hand.z / np.maximum(sizes, 1)[:, None]
    np.testing.assert_allclose(after.vectors[~dead], means[~dead], rtol=1e-4)
    np.testing.assert_allclose(after.sizes, 0.5 * np.where(dead, sizes.mean(), sizes), rtol=1e-5)
    distances = ((np.asarray(after.vectors)[dead][:, None] - hand.z) ** 2).sum(-1)
    assert distances.min(1).max() < 1e-6, "dead codes become outputs of the batch"
    np.testing.assert_allclose(after.sums[dead], after.vectors[dead] * after.sizes[dead][:, None], rtol=1e-5)


def test_dead_codes_restart_from_the_batch_by_a_key_of_their_own():
    hand = ByHand()
    family = build(codebook={"learning": "ema", "restart_threshold": 0.5})
    far = jnp.asarray(hand.vectors, jnp.float32).at[4:].set(100.0)
    extra = jax.jit(family.init)(KEY, hand.batch)[1]._replace(vectors=far)
    after = [
        losses.jitted(family, {"model": hand.params}, hand.batch, jax.random.key(seed), extra=extra).extra.vectors[4:]
        for seed in (0, 1)
    ]
    distances = ((np.asarray(after[0])[:, None] - hand.z) ** 2).sum(-1)
    assert distances.min(1).max() < 1e-6 and np.abs(after[0] - after[1]).max() > 1e-3
    found = draws(lambda key: losses.compute(family, {"model": hand.params}, hand.batch, key, extra=extra).extra, KEY)
    assert found and not repeated(found)
