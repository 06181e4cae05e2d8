"""VQ-VAE-2: images as grids of discrete codes at several scales, and back (arXiv:1906.00446).

The network is `genjax.nn.hierarchy`: coarse codes first, finer ones quantised with the coarser ones known. The loss
is that of VQ-VAE, summed over the levels l, each with a codebook of its own:

    minimise  ||x - x'||^2 / data_variance + commitment_cost sum_l ||z_l - sg(e_l)||^2   ( + sum_l ||sg(z_l) - e_l||^2 )

with all terms as means over pixels or positions and channels; the last one is there if the codebooks learn by loss,
else they are moving averages, in `extra` (`genjax.nn.layers.quantize`).

It draws no images by itself: priors over the codes do, the top one on its own and each finer one given the coarser
(`families/code_prior.py`, on the `Tokenizer` that this family offers). Codes are ordered coarse to fine.

Metrics: `reconstruction` (first term), `commitment` (sum over levels, without its cost), `psnr` in dB at the range 2
of [-1, 1], and of each batch's codes `perplexity_l` and `usage_l`, l = 0 for the coarsest level.

Deviations: reconstructions are clipped to [-1, 1], not in the loss. See `genjax.nn.hierarchy` for what the paper
leaves open.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import mean_flat, psnr
from genjax.families.base import Family, LossInputs, LossOutputs, Player
from genjax.families.interfaces import Codes, Tokenizer, Weights
from genjax.families.settings import read_settings, refuse_parents
from genjax.families.terms import code_shares, mean_of, summarize_shares
from genjax.losses.vq import codebook_loss, commitment_loss
from genjax.nn import hierarchy
from genjax.nn.hierarchy import Hierarchy, Vectors
from genjax.nn.layers import quantize
from genjax.nn.layers.quantize import CodebookSettings, EmaCodebook, Quantized
from genjax.typing import Array, Batch, DataSpec, Image, Key, Params, PerExample, PyTree


class Settings(NamedTuple):
    """`config.model`: see `configs.recipes.codebooks.vqvae2` for each field."""

    codebook: Mapping[str, Any]
    downs: tuple[int, ...] = (2, 1)
    width: int = 128
    num_res_blocks: int = 2
    res_width: int = 64
    commitment_cost: float = 0.25
    data_variance: float = 1.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    spec: DataSpec
    network: Hierarchy
    codebook: CodebookSettings
    commitment_cost: float
    data_variance: float

    def init(self, key: Key, batch: Batch):
        """A fresh network and codebooks: among the parameters if they learn by loss, else in `extra`; coarse to
        fine.
        """
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        keys = [rng.stream(key, "codebook", level) for level in range(len(self.network.downs))]
        vectors = tuple(quantize.init_vectors(key, self.codebook) for key in keys)
        network = self.network.init(rng.stream(key, "network"), image, vectors)["params"]
        if self.codebook.learning == "ema":
            return {"model": {"network": network}}, tuple(quantize.init_ema(key, self.codebook) for key in keys)
        return {"model": {"network": network, "codebook": vectors}}, ()

    def code_vectors(self, params: Params, extra: PyTree) -> Vectors:
        """The codebooks, wherever they are, coarse to fine."""
        if self.codebook.learning == "ema":
            return tuple(codebook.vectors for codebook in extra)
        return tuple(params["codebook"])

    def loss_fn(self, params: Params, inputs: LossInputs):
        """The batch's loss; with it the codebooks' moving averages go on."""
        x = inputs.batch["image"]
        vectors = self.code_vectors(params, inputs.extra)
        x_hat, quantized = self.network.apply({"params": params["network"]}, x, vectors)
        reconstruction = mean_of(mean_flat(jnp.square(x_hat - x)) / self.data_variance)
        commitment = mean_of(_over_levels(commitment_loss, quantized), self.commitment_cost)
        terms = {"reconstruction": reconstruction, "commitment": commitment}
        if self.codebook.learning == "loss":
            terms["codebook"] = mean_of(_over_levels(codebook_loss, quantized))
            extra = inputs.extra
        else:
            extra = self._update(inputs.extra, quantized, inputs.key)
        metrics = {"reconstruction": reconstruction, "commitment": commitment, "psnr": mean_of(psnr(_clip(x_hat), x))}
        for level, found in enumerate(quantized):
            metrics[f"shares_{level}"] = code_shares(found.codes, self.codebook.num_codes)
        return LossOutputs(terms, metrics, extra)

    def _update(self, codebooks: tuple[EmaCodebook, ...], quantized: tuple[Quantized, ...], key: Key):
        return tuple(
            quantize.update_ema(codebook, found, rng.stream(key, "restart", level), self.codebook)
            for level, (codebook, found) in enumerate(zip(codebooks, quantized, strict=True))
        )

    def _quantized(self, weights: Weights, images: Image) -> tuple[Quantized, ...]:
        params = weights.params["model"]
        vectors = self.code_vectors(params, weights.extra)
        return self.network.apply({"params": params["network"]}, images, vectors, method="encode")

    def encode(self, weights: Weights, images: Image) -> Codes:
        """The codes of images at each level, int32 [b, *grid], coarse to fine."""
        return tuple(level.codes for level in self._quantized(weights, images))

    def decode(self, weights: Weights, codes: Codes) -> Image:
        """The images of the codes of all levels, coarse to fine, in [-1, 1]."""
        params = weights.params["model"]
        vectors = self.code_vectors(params, weights.extra)
        z_q = tuple(quantize.lookup(level, own) for level, own in zip(codes, vectors, strict=True))
        return _clip(self.network.apply({"params": params["network"]}, z_q, method="decode"))

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Images through the codes and back; nothing is random."""
        return self.decode(weights, self.encode(weights, images))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Of each held-out example: psnr in dB, and the terms of the loss."""
        x = batch["image"]
        quantized = self._quantized(weights, x)
        x_hat = self.decode(weights, tuple(level.codes for level in quantized))
        return {
            "psnr": psnr(x_hat, x),
            "reconstruction": mean_flat(jnp.square(x_hat - x)) / self.data_variance,
            "commitment": sum(commitment_loss(level.z, level.z_q) for level in quantized),
        }


def build(fields: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        fields: those of `Settings`.
        sampling: not read, since nothing is sampled.
        spec: shape of the data.
        parents: none.

    Raises:
        ValueError: for unknown names, fewer than two levels, or images that can't be halved so often.
    """
    refuse_parents(parents, "vqvae2")
    settings = read_settings(Settings, fields, "config.model of the vqvae2 family")
    codebook = read_settings(CodebookSettings, settings.codebook, "config.model.codebook of the vqvae2 family")
    quantize.check(codebook)
    downs = tuple(settings.downs)
    grids = _grids(downs, spec.image_shape[:2])
    sizes = {name: getattr(settings, name) for name in ("width", "num_res_blocks", "res_width", "dtype")}
    model = Model(
        spec=spec,
        network=Hierarchy(spec.image_shape[2], downs, codebook.dim, **sizes),
        codebook=codebook,
        commitment_cost=settings.commitment_cost,
        data_variance=settings.data_variance,
    )
    coupled = quantize.MOVES_ONCE if codebook.learning == "ema" else ""
    return Family(
        init=model.init,
        players=(Player("model", model.loss_fn, batch_coupled=coupled, summarize=summarize_shares),),
        evaluate=model.evaluate,
        interface=Tokenizer(model.encode, model.decode, codebook.num_codes, grids, spec.image_shape),
        logical_axes=(*quantize.LOGICAL_AXES, *hierarchy.LOGICAL_AXES),
        reconstruct=model.reconstruct,
    )


def _grids(downs: tuple[int, ...], size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """(height, width) of each level's codes, coarse to fine."""
    if len(downs) < 2 or min(downs) < 1:
        raise ValueError(
            f"config.model.downs={downs} must name the halvings of two levels or more, each at least 1; "
            "one level is the family vqvae"
        )
    height, width = size
    if height % 2 ** sum(downs) or width % 2 ** sum(downs):
        raise ValueError(
            f"images of {height}x{width} can't be halved {sum(downs)} times; change config.model.downs={downs} "
            "or config.data.image_size"
        )
    factors = [2 ** sum(downs[: level + 1]) for level in range(len(downs))]
    return tuple((height // factor, width // factor) for factor in reversed(factors))


def _over_levels(loss: Callable[[Array, Array], PerExample], quantized: tuple[Quantized, ...]) -> PerExample:
    """The sum of a loss of (z, z_q) over the levels."""
    first, *others = (loss(level.z, level.z_q) for level in quantized)
    return sum(others, first)


def _clip(images: Image) -> Image:
    return jnp.clip(images, -1.0, 1.0)
