"""Autoencoders, plain and denoising: for features, not for sampling.

One player minimises the squared error of a clean image, seen through a code of `code_dim` numbers:

    mean | decode(encode(corrupted(x))) - x |^2          (Vincent et al., ICML 2008, section 2.3)

With `corruption.name` "none" that is a plain autoencoder. A denoising one has to know how pixels depend on each other
to undo what a corruption did, even where its code is as large as the image. The corruptions, at each look anew:

    gaussian            x + amount * eps, in the units of [-1, 1]
    masking             a share `amount` of all numbers is set to black, -1
    salt_and_pepper     a share `amount` is set to black or white, by a fair coin

Features are the code of the image as it is given: nothing is corrupted outside training, but by whoever measures
(`genjax.metrics.linear_probe`).

Deviations: Vincent et al. have fully connected layers, tied weights, a cross-entropy in place of the squared error, and
exactly a share `amount` of masked numbers in each image, here on average.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import mean_flat, psnr
from genjax.families.base import Family, LossInputs
from genjax.families.interfaces import FeatureExtractor, Weights
from genjax.families.shared.assembly import builder, init_coders, mean_loss, one_player
from genjax.nn import vector_coders
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params

Corruption = Callable[[Image, float, Key], Image]
"""(images, amount, key) -> corrupted images."""


def _gaussian(images: Image, amount: int | float, key: Key) -> Image:
    return images + amount * jax.random.normal(key, images.shape)


def _masking(images: Image, amount: int | float, key: Key) -> Image:
    return jnp.where(jax.random.bernoulli(key, amount, images.shape), -1.0, images)


def _salt_and_pepper(images: Image, amount: int | float, key: Key) -> Image:
    hit = jax.random.bernoulli(rng.stream(key, "hit"), amount, images.shape)
    colour = jnp.where(jax.random.bernoulli(rng.stream(key, "colour"), shape=images.shape), 1.0, -1.0)
    return jnp.where(hit, colour, images)


CORRUPTIONS: dict[str, Corruption] = {
    "none": lambda images, amount, key: images,
    "gaussian": _gaussian,
    "masking": _masking,
    "salt_and_pepper": _salt_and_pepper,
}


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: "name" and fields of the coders, `genjax.nn.vector_coders.make`.
        corruption: what training does to images before they are encoded: "name", one of `CORRUPTIONS`, and "amount".
        code_dim: numbers in the code: the features.
        dtype: of the networks' computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    corruption: Mapping[str, Any]
    code_dim: int
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    encoder: Any
    decoder: Any
    corrupt: Callable[[Image, Key], Image] | None
    code_dim: int

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        return {"model": init_coders(self.encoder, self.decoder, key, image, jnp.zeros((1, self.code_dim)))}, ()

    def _encode(self, params: Params, images: Image) -> Float[Array, "b d"]:
        return self.encoder.apply({"params": params["encoder"]}, images).astype(jnp.float32)

    def _decode(self, params: Params, code: Float[Array, "b d"]) -> Image:
        return self.decoder.apply({"params": params["decoder"]}, code).astype(jnp.float32)

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean squared error of a batch, per pixel of [-1, 1]."""
        images = inputs.batch["image"]
        seen = self.corrupt(images, rng.stream(inputs.key, "corruption")) if self.corrupt else images
        return mean_loss(mean_flat(jnp.square(self._decode(params, self._encode(params, seen)) - images)))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """`mse` and `psnr` (dB) of clean images; of corrupted ones `corrupted_psnr` before and `denoised_psnr`
        after.
        """
        images = batch["image"]
        clean = self.reconstruct(weights, images, key)
        values = {"mse": mean_flat(jnp.square(clean - images)), "psnr": psnr(images, clean)}
        if self.corrupt:
            seen = self.corrupt(images, rng.stream(key, "corruption"))
            values["corrupted_psnr"] = psnr(images, seen)
            values["denoised_psnr"] = psnr(images, self.reconstruct(weights, seen, key))
        return values

    def features(self, weights: Weights, images: Image) -> Float[Array, "b d"]:
        """The code of each image, as it is given."""
        return self._encode(weights.params["model"], images)

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Images through the code and back, in [-1, 1]; noisy ones are denoised by a model that has learned to."""
        code = self.features(weights, images)
        return jnp.clip(self._decode(weights.params["model"], code), -1.0, 1.0)


@builder("autoencoder", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, or a share of pixels outside [0, 1].
    """
    encoder, decoder = vector_coders.make(settings.network, settings.code_dim, spec.image_shape, settings.dtype)
    model = Model(encoder, decoder, _corruption(**settings.corruption), settings.code_dim)
    interface = FeatureExtractor(model.features, spec.image_shape, settings.code_dim)
    return one_player(model, interface, vector_coders.LOGICAL_AXES, reconstruct=model.reconstruct)


def _corruption(name: str, amount: int | float) -> Callable[[Image, Key], Image] | None:
    """(images, key) -> corrupted images; None for a plain autoencoder."""
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; config.model.corruption.name is one of {sorted(CORRUPTIONS)}")
    if amount < 0 or (name in ("masking", "salt_and_pepper") and amount > 1):
        raise ValueError(f"config.model.corruption.amount={amount} is no share of pixels; {name} takes 0 to 1")
    return None if name == "none" else lambda images, key: CORRUPTIONS[name](images, amount, key)
