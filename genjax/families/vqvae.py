"""VQ-VAE: images as a grid of discrete codes, and back (arXiv:1711.00937).

    z = encoder(x),   codes = argmin_k ||z - e_k||^2,   z_q = e_codes,   x' = decoder(z + sg(z_q - z))
    minimise  ||x - x'||^2 / data_variance + commitment_cost ||z - sg(z_q)||^2   ( + ||sg(z) - z_q||^2 )

with all terms as means over pixels or positions and channels. The last one is there if the codebook learns by loss;
else its vectors are moving averages, in `extra` (`genjax.nn.layers.quantize`). Division by the variance of the training
pixels is Sonnet's: the first term is then the share of variance that is not explained, on any dataset. With
`data_variance=1` it is plain squared error.

It draws no images by itself: codes at random look like nothing. A prior learned over its codes draws them
(`families/code_prior.py`, on the `Tokenizer` that this family offers).

Metrics: `reconstruction` (first term), `commitment` (without its cost), `psnr` in dB at the range 2 of [-1, 1], and
of each batch's codes `perplexity` and `usage`.

Deviations. The paper's reconstruction term is a likelihood; a Gaussian of fixed variance gives the squared error.
Reconstructions are clipped to [-1, 1], not in the loss.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import mean_flat, psnr
from genjax.families.base import Family, LossInputs, LossOutputs, Player
from genjax.families.interfaces import Codes, Tokenizer, Weights
from genjax.families.settings import read_settings, refuse_parents
from genjax.families.terms import code_shares, mean_of, summarize_shares
from genjax.losses.vq import codebook_loss, commitment_loss
from genjax.nn import coders
from genjax.nn.layers import quantize
from genjax.nn.layers.quantize import CodebookSettings, Quantized
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params, PyTree


class Settings(NamedTuple):
    """`config.model`: see `configs.recipes.codebooks.vqvae` for each field."""

    codebook: Mapping[str, Any]
    width: int = 128
    num_downs: int = 2
    num_res_blocks: int = 2
    res_width: int = 32
    commitment_cost: float = 0.25
    data_variance: float = 1.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    spec: DataSpec
    encoder: nn.Module
    decoder: nn.Module
    codebook: CodebookSettings
    commitment_cost: float
    data_variance: float

    def init(self, key: Key, batch: Batch):
        """Fresh coders, and a codebook: among the parameters if it learns by loss, else in `extra`."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        z, encoder = self.encoder.init_with_output(rng.stream(key, "encoder"), image)
        decoder = self.decoder.init(rng.stream(key, "decoder"), z)
        params = {"encoder": encoder["params"], "decoder": decoder["params"]}
        if self.codebook.learning == "ema":
            return {"model": params}, quantize.init_ema(rng.stream(key, "codebook"), self.codebook)
        return {"model": {**params, "codebook": quantize.init_vectors(rng.stream(key, "codebook"), self.codebook)}}, ()

    def code_vectors(self, params: Params, extra: PyTree) -> Float[Array, "k d"]:
        """The codebook, wherever it is."""
        return extra.vectors if self.codebook.learning == "ema" else params["codebook"]

    def loss_fn(self, params: Params, inputs: LossInputs):
        """The batch's loss; with it the codebook's moving averages go on."""
        x = inputs.batch["image"]
        z = self.encoder.apply({"params": params["encoder"]}, x)
        quantized = quantize.quantize(z, self.code_vectors(params, inputs.extra))
        x_hat = self.decoder.apply({"params": params["decoder"]}, quantized.straight_through())
        reconstruction = mean_of(mean_flat(jnp.square(x_hat - x)) / self.data_variance)
        commitment = mean_of(commitment_loss(quantized.z, quantized.z_q), self.commitment_cost)
        terms = {"reconstruction": reconstruction, "commitment": commitment}
        if self.codebook.learning == "loss":
            terms["codebook"], extra = mean_of(codebook_loss(quantized.z, quantized.z_q)), inputs.extra
        else:
            extra = quantize.update_ema(inputs.extra, quantized, rng.stream(inputs.key, "restart"), self.codebook)
        metrics = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "psnr": mean_of(psnr(_clip(x_hat), x)),
            "shares": code_shares(quantized.codes, self.codebook.num_codes),
        }
        return LossOutputs(terms, metrics, extra)

    def _quantized(self, weights: Weights, images: Image) -> Quantized:
        params = weights.params["model"]
        z = self.encoder.apply({"params": params["encoder"]}, images)
        return quantize.quantize(z, self.code_vectors(params, weights.extra))

    def encode(self, weights: Weights, images: Image) -> Codes:
        """The codes of images, one level: (int32 [b, *grid],)."""
        return (self._quantized(weights, images).codes,)

    def decode(self, weights: Weights, codes: Codes) -> Image:
        """The images of codes, in [-1, 1]."""
        params = weights.params["model"]
        z_q = quantize.lookup(codes[0], self.code_vectors(params, weights.extra))
        return _clip(self.decoder.apply({"params": params["decoder"]}, z_q))

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Images through the codes and back; nothing is random."""
        return self.decode(weights, self.encode(weights, images))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Of each held-out example: psnr in dB, the terms of the loss, and the perplexity of its own codes."""
        x = batch["image"]
        quantized = self._quantized(weights, x)
        x_hat = self.decode(weights, (quantized.codes,))
        return {
            "psnr": psnr(x_hat, x),
            "reconstruction": mean_flat(jnp.square(x_hat - x)) / self.data_variance,
            "commitment": commitment_loss(quantized.z, quantized.z_q),
            "perplexity": jax.vmap(lambda codes: quantize.perplexity(codes, self.codebook.num_codes))(quantized.codes),
        }


def build(fields: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        fields: those of `Settings`.
        sampling: not read, since nothing is sampled.
        spec: shape of the data.
        parents: none.

    Raises:
        ValueError: for unknown names, or images that can't be halved `num_downs` times.
    """
    refuse_parents(parents, "vqvae")
    settings = read_settings(Settings, fields, "config.model of the vqvae family")
    codebook = read_settings(CodebookSettings, settings.codebook, "config.model.codebook of the vqvae family")
    quantize.check(codebook)
    height, width, channels = spec.image_shape
    factor = 2**settings.num_downs
    if height % factor or width % factor:
        raise ValueError(
            f"images of {height}x{width} can't be halved {settings.num_downs} times; change config.model.num_downs "
            "or config.data.image_size"
        )
    sizes = {name: getattr(settings, name) for name in ("width", "num_res_blocks", "res_width", "dtype")}
    model = Model(
        spec=spec,
        encoder=coders.Encoder(num_downs=settings.num_downs, out_channels=codebook.dim, **sizes),
        decoder=coders.Decoder(num_ups=settings.num_downs, out_channels=channels, **sizes),
        codebook=codebook,
        commitment_cost=settings.commitment_cost,
        data_variance=settings.data_variance,
    )
    grid = (height // factor, width // factor)
    coupled = quantize.MOVES_ONCE if codebook.learning == "ema" else ""
    return Family(
        init=model.init,
        players=(Player("model", model.loss_fn, batch_coupled=coupled, summarize=summarize_shares),),
        evaluate=model.evaluate,
        interface=Tokenizer(model.encode, model.decode, codebook.num_codes, (grid,), spec.image_shape),
        logical_axes=(*quantize.LOGICAL_AXES, *coders.LOGICAL_AXES),
        reconstruct=model.reconstruct,
    )


def _clip(images: Image) -> Image:
    return jnp.clip(images, -1.0, 1.0)
