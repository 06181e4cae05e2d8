"""DALL-E's discrete variational autoencoder (arXiv:2102.12092, section 2.1 and appendix A.2).

The encoder gives a categorical distribution over K codes at each position of a grid, the decoder the pixels. Where the
ELBO needs a draw z, training takes a relaxed one (Gumbel-softmax, arXiv:1611.01144) at temperature tau:

    y = softmax((logits + g) / tau),    g = -log(-log u)
    minimise  ( -log p(x | y) + beta KL(q(z | x) || uniform) ) / dims                     nats a dimension

p(x | y) is the logit-Laplace density of each pixel, which lies inside (0, 1) as pixels do. tau falls from 1 to 1 / 16
and beta grows from 0 to 6.6 along half cosines. The paper writes the loss with beta / 192 on the KL of one position:
192 numbers of a 256x256 image in colour share one of its 32x32 codes.

Codes are the most likely ones, and decoding takes them one-hot. A prior over them has to be learned: `code_prior`.

Training logs the share of codes in use (`usage`) and the perplexity of their distribution, both over the codes of one
batch, and the schedules' `temperature` and `beta`. Evaluation draws z without relaxation:

    elbo_nats      log p(x | z) - KL, beta aside; a density's, of mapped pixels
    bits_per_dim   of elbo_nats, for the 8-bit pixels
    kl, psnr       in nats, and in dB of decoding the most likely codes

Deviations: the likelihood sees pixels with uniform noise of their 8-bit bin's width, without which the density of
pixels that never change, such as the margins of digits, grows without bound. `min_log_scale` bounds ln b from below,
since such pixels' steep densities otherwise outweigh all others; DALL-E's config sets it where it never acts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.images import dequantize
from genjax.core.numerics import psnr
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Codes, Tokenizer, Weights
from genjax.families.shared.assembly import builder, init_coders, one_player
from genjax.families.terms import code_shares, mean_of, same, summarize_shares
from genjax.losses import elbo
from genjax.nn import dvae_coders
from genjax.typing import Array, Batch, DataSpec, Float, Image, Int, Key, Params, PerExample

BIN_WIDTH = (1 - 2 * elbo.LOGIT_LAPLACE_EPS) / 255
"""Of an 8-bit pixel, in the mapped pixels."""


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: fields of `genjax.nn.dvae_coders`, and "input_width", the channels of the codes' embedding.
        num_codes: size of the codebook.
        temperature: of the relaxed codes: "start", "end", and the "num_steps" from one to the other, on half a cosine.
        kl: "weight" of the KL to the uniform prior, reached on half a cosine from 0 in "num_steps".
        min_log_scale: least ln b of the likelihood; see the module.
        dtype: of the networks' computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    num_codes: int
    temperature: Mapping[str, Any]
    kl: Mapping[str, Any]
    min_log_scale: float
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    spec: DataSpec
    encoder: dvae_coders.DVAEEncoder
    decoder: dvae_coders.DVAEDecoder
    grid: tuple[int, int]

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        codes = jnp.zeros((1, *self.grid, self.settings.num_codes))
        return {"model": init_coders(self.encoder, self.decoder, key, image, codes)}, ()

    def _logits(self, params: Params, images: Image) -> Float[Array, "b h2 w2 k"]:
        """Logits of the codes; the encoder sees mapped pixels, as the likelihood does."""
        return self.encoder.apply({"params": params["encoder"]}, elbo.logit_laplace_pixels(images))

    def _decoded(self, params: Params, codes: Float[Array, "b h2 w2 k"]) -> tuple[Image, Image]:
        """(location, log-scale) of the logit of each pixel."""
        location, log_scale = jnp.split(self.decoder.apply({"params": params["decoder"]}, codes), 2, axis=-1)
        return location, jnp.maximum(log_scale, self.settings.min_log_scale)

    def _one_hot(self, codes: Int[Array, "b h w"]) -> Float[Array, "b h w k"]:
        return jax.nn.one_hot(codes, self.settings.num_codes)

    def _log_likelihood(self, params: Params, images: Image, codes: Float[Array, "b h2 w2 k"], key: Key) -> PerExample:
        """log p(x | codes) in nats, of pixels with noise of their bin's width."""
        pixels = dequantize(elbo.logit_laplace_pixels(images), key, BIN_WIDTH)
        return elbo.logit_laplace_log_likelihood(pixels, *self._decoded(params, codes))

    def loss_fn(self, params: Params, inputs: LossInputs):
        """The relaxed objective of a batch, in nats a dimension."""
        images, key = inputs.batch["image"], inputs.key
        temperature, beta = schedules(self.settings, inputs.step)
        logits = self._logits(params, images)
        relaxed = relax(logits, temperature, rng.stream(key, "gumbel"))
        log_prob = self._log_likelihood(params, images, relaxed, rng.stream(key, "bin"))
        kl, dims = elbo.uniform_kl(logits), images[0].size
        terms = {"kl": mean_of(kl, beta / dims), "reconstruction": mean_of(-log_prob, 1 / dims)}
        metrics = {"relaxed_elbo_nats": mean_of(log_prob - kl), "kl": mean_of(kl)}
        metrics |= {"temperature": same(temperature), "beta": same(beta)}
        metrics["shares"] = code_shares(jnp.argmax(logits, axis=-1), logits.shape[-1])
        return LossOutputs(terms, metrics, ())

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """The bound of each image with codes drawn, not relaxed, and its PSNR; see the module."""
        params, images = weights.params["model"], batch["image"]
        logits = self._logits(params, images)
        drawn = self._one_hot(jax.random.categorical(rng.stream(key, "codes"), logits))
        kl = elbo.uniform_kl(logits)
        bound = self._log_likelihood(params, images, drawn, rng.stream(key, "bin")) - kl
        return {
            "elbo_nats": bound,
            "bits_per_dim": elbo.bits_per_dim(bound, images[0].size, BIN_WIDTH),
            "kl": kl,
            "psnr": psnr(images, self.reconstruct(weights, images, key)),
        }

    def encode(self, weights: Weights, images: Image) -> Codes:
        """The most likely code at each position: one level, int32 [b, h, w]."""
        return (jnp.argmax(self._logits(weights.params["model"], images), axis=-1).astype(jnp.int32),)

    def decode(self, weights: Weights, codes: Codes) -> Image:
        """The image of the decoder's locations, in [-1, 1]."""
        location, _ = self._decoded(weights.params["model"], self._one_hot(codes[0]))
        return elbo.logit_laplace_images(location)

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Images through their most likely codes and back; nothing is drawn."""
        return self.decode(weights, self.encode(weights, images))


@builder("dvae", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown fields, or images that can't be halved as often as the network does.
    """
    network = dict(settings.network)
    input_width = network.pop("input_width")
    factor = 2 ** (len(network["channel_mult"]) - 1)
    height, width, channels = spec.image_shape
    if height % factor or width % factor:
        raise ValueError(
            f"images of {height}x{width} can't be coded at 1/{factor} of their size; "
            f"choose a config.data.image_size that {factor} divides, or a shorter config.model.network.channel_mult"
        )
    for field in ("start", "end"):
        if settings.temperature[field] <= 0:
            raise ValueError(f"config.model.temperature.{field} must be above 0, not {settings.temperature[field]}")
    model = Model(
        settings=settings,
        spec=spec,
        encoder=dvae_coders.DVAEEncoder(settings.num_codes, dtype=settings.dtype, **network),
        decoder=dvae_coders.DVAEDecoder(2 * channels, input_width, dtype=settings.dtype, **network),
        grid=(height // factor, width // factor),
    )
    interface = Tokenizer(model.encode, model.decode, settings.num_codes, (model.grid,), spec.image_shape)
    axes = dvae_coders.LOGICAL_AXES
    return one_player(model, interface, axes, summarize=summarize_shares, reconstruct=model.reconstruct)


def schedules(settings: Settings, step: Int[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(temperature, weight of the KL term) at a step."""
    temperature = elbo.cosine_ramp(step, **settings.temperature)
    return temperature, elbo.cosine_ramp(step, 0.0, settings.kl["weight"], settings.kl["num_steps"])


def relax(logits: Float[Array, "b h w k"], temperature: Float[Array, ""], key: Key) -> Float[Array, "b h w k"]:
    """A Gumbel-softmax draw: on the simplex, one-hot in the limit of temperature 0 (arXiv:1611.01144, eq. 2)."""
    return jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape, logits.dtype)) / temperature)
