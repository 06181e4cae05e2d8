"""VQ-VAE and VQ-VAE-2: images as grids of codes at L levels, and back (arXiv:1711.00937, 1906.00446).

    minimise  ||x - x'||^2 / data_variance + commitment_cost sum_l ||z_l - sg(e_l)||^2   ( + sum_l ||sg(z_l) - e_l||^2 )

with all terms as means over pixels or positions and channels, z_l what the networks make of x at level l and e_l the
vector of its code there. The last term is there if the codebooks, one a level, learn by loss; else their vectors are
moving averages, in `extra` (`genjax.nn.layers.quantize`). Levels go coarse to fine. VQ-VAE has one, and its state and
metrics stand by themselves there: `perplexity`, not `perplexity_0`.

It draws no images by itself: codes at random look like nothing. A prior learned over the codes draws them
(`families/code_prior.py`, on the `Tokenizer` that these families offer).

Metrics: `reconstruction` (first term), `commitment` (sum over levels, without its cost), `psnr` in dB at the range 2
of [-1, 1], and of each batch's codes `perplexity_l` and `usage_l`. Reconstructions are clipped to [-1, 1], not in the
loss. Division by the variance of the training pixels is Sonnet's: the first term is then the share of variance that is
not explained, on any dataset. With `data_variance=1` it is plain squared error.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import mean_flat, psnr
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Codes, Tokenizer, Weights
from genjax.families.settings import read_settings
from genjax.families.shared.assembly import one_player
from genjax.families.terms import code_shares, mean_of, summarize_shares
from genjax.losses.vq import codebook_loss, commitment_loss
from genjax.nn.hierarchy import Grids, Vectors
from genjax.nn.layers import quantize
from genjax.nn.layers.quantize import CodebookSettings, Quantized
from genjax.typing import Array, Batch, DataSpec, Image, Key, Params, PerExample, PyTree


@runtime_checkable
class Networks(Protocol):
    """The networks between images and code vectors of all levels; codebooks are given, coarse to fine."""

    def init(self, key: Key, image: Image, vectors: Vectors) -> dict[str, Params]:
        """Fresh parameters."""

    def encode(self, params: Params, images: Image, vectors: Vectors) -> tuple[Quantized, ...]:
        """Outputs and codes of images at each level."""

    def decode(self, params: Params, z_q: Grids) -> Image:
        """Images of the code vectors of all levels."""


class Model(NamedTuple):
    """Networks, and a codebook for each of `num_levels` levels."""

    networks: Networks
    num_levels: int
    codebook: CodebookSettings
    commitment_cost: float
    data_variance: float

    def _kept(self, levels: tuple) -> PyTree:
        """How what each level has is kept: one level's by itself."""
        return levels if self.num_levels > 1 else levels[0]

    def _levels(self, kept: PyTree) -> tuple:
        return tuple(kept) if self.num_levels > 1 else (kept,)

    def init(self, key: Key, batch: Batch):
        """Fresh networks and codebooks: among the parameters if they learn by loss, else in `extra`."""
        keys = [rng.stream(key, "codebook", level) for level in range(self.num_levels)]
        codebooks = tuple(quantize.init_ema(key, self.codebook) for key in keys)
        vectors = tuple(codebook.vectors for codebook in codebooks)
        params = self.networks.init(key, jnp.zeros((1, *batch["image"].shape[1:])), vectors)
        if self.codebook.learning == "ema":
            return {"model": params}, self._kept(codebooks)
        return {"model": {**params, "codebook": self._kept(vectors)}}, ()

    def code_vectors(self, params: Params, extra: PyTree) -> Vectors:
        """The codebooks, wherever they are."""
        if self.codebook.learning == "ema":
            return tuple(codebook.vectors for codebook in self._levels(extra))
        return self._levels(params["codebook"])

    def loss_fn(self, params: Params, inputs: LossInputs) -> LossOutputs:
        """The batch's loss; with it the codebooks' moving averages go on."""
        x, extra = inputs.batch["image"], inputs.extra
        quantized = self.networks.encode(params, x, self.code_vectors(params, extra))
        x_hat = self.networks.decode(params, tuple(level.straight_through() for level in quantized))
        terms = {
            "reconstruction": mean_of(mean_flat(jnp.square(x_hat - x)) / self.data_variance),
            "commitment": mean_of(_total(commitment_loss, quantized), self.commitment_cost),
        }
        metrics = {**terms, "psnr": mean_of(psnr(x_hat.clip(-1, 1), x))}
        for level, found in enumerate(quantized):
            name = f"shares_{level}" if self.num_levels > 1 else "shares"
            metrics[name] = code_shares(found.codes, self.codebook.num_codes)
        if self.codebook.learning == "loss":
            terms["codebook"] = mean_of(_total(codebook_loss, quantized))
            return LossOutputs(terms, metrics, extra)
        updated = tuple(
            quantize.update_ema(codebook, found, rng.stream(inputs.key, "restart", level), self.codebook)
            for level, (codebook, found) in enumerate(zip(self._levels(extra), quantized, strict=True))
        )
        return LossOutputs(terms, metrics, self._kept(updated))

    def _quantized(self, weights: Weights, images: Image) -> tuple[Quantized, ...]:
        params = weights.params["model"]
        return self.networks.encode(params, images, self.code_vectors(params, weights.extra))

    def encode(self, weights: Weights, images: Image) -> Codes:
        """The codes of images at each level, int32 [b, *grid]."""
        return tuple(level.codes for level in self._quantized(weights, images))

    def decode(self, weights: Weights, codes: Codes) -> Image:
        """The images of the codes of all levels, in [-1, 1]."""
        params = weights.params["model"]
        vectors = self.code_vectors(params, weights.extra)
        z_q = tuple(quantize.lookup(level, own) for level, own in zip(codes, vectors, strict=True))
        return self.networks.decode(params, z_q).clip(-1, 1)

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Images through the codes and back; nothing is random."""
        return self.decode(weights, self.encode(weights, images))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Of each held-out example: psnr in dB, the terms of the loss, and of one level the perplexity of its codes."""
        x = batch["image"]
        quantized = self._quantized(weights, x)
        x_hat = self.decode(weights, tuple(level.codes for level in quantized))
        values = {
            "psnr": psnr(x_hat, x),
            "reconstruction": mean_flat(jnp.square(x_hat - x)) / self.data_variance,
            "commitment": _total(commitment_loss, quantized),
        }
        if self.num_levels == 1:
            own = jax.vmap(lambda codes: quantize.perplexity(codes, self.codebook.num_codes))
            values["perplexity"] = own(quantized[0].codes)
        return values


def read_codebook(settings: Any, family: str) -> CodebookSettings:
    """`config.model.codebook`, checked."""
    codebook = read_settings(CodebookSettings, settings.codebook, f"config.model.codebook of the {family} family")
    quantize.check(codebook)
    return codebook


def sizes_of(settings: Any) -> dict[str, Any]:
    """The fields of all coders, `genjax.nn.coders`."""
    return {name: getattr(settings, name) for name in ("width", "num_res_blocks", "res_width", "dtype")}


def make(
    settings: Any,
    codebook: CodebookSettings,
    networks: Networks,
    downs: tuple[int, ...],
    spec: DataSpec,
    logical_axes: Any,
) -> Family:
    """The family of such networks.

    Args:
        settings: have `commitment_cost` and `data_variance`.
        codebook: of every level.
        networks: of all levels.
        downs: halvings from the image to the finest grid, from there to the next coarser one, ...: one a level.
        spec: shape of the data.
        logical_axes: of the networks.
    """
    height, width, _ = spec.image_shape
    factors = [2 ** sum(downs[: level + 1]) for level in range(len(downs))]
    grids = tuple((height // factor, width // factor) for factor in reversed(factors))
    model = Model(networks, len(downs), codebook, settings.commitment_cost, settings.data_variance)
    return one_player(
        model,
        Tokenizer(model.encode, model.decode, codebook.num_codes, grids, spec.image_shape),
        (*quantize.LOGICAL_AXES, *logical_axes),
        batch_coupled=quantize.MOVES_ONCE if codebook.learning == "ema" else "",
        summarize=summarize_shares,
        reconstruct=model.reconstruct,
    )


def expect_halvings(num: int, spec: DataSpec, field: str) -> None:
    """Refuses images that can't be halved so often.

    Raises:
        ValueError: for such images, with the field that says how often.
    """
    height, width, _ = spec.image_shape
    if height % 2**num or width % 2**num:
        raise ValueError(
            f"images of {height}x{width} can't be halved {num} times; change config.model.{field} or "
            "config.data.image_size"
        )


def _total(loss: Callable[[Array, Array], PerExample], quantized: tuple[Quantized, ...]) -> PerExample:
    """The sum of a loss of (z, z_q) over the levels."""
    return reduce(jnp.add, (loss(level.z, level.z_q) for level in quantized))
