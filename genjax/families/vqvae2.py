"""VQ-VAE-2: pictures as grids of discrete codes at several scales, and back (arXiv:1906.00446).

The network is `genjax.nn.hierarchy`: coarse codes first, finer ones quantised with the coarser ones known. The loss
is that of VQ-VAE, summed over the levels l, each with a codebook of its own:

    minimise  ||x - x'||^2 / data_variance + commitment_cost sum_l ||z_l - sg(e_l)||^2   ( + sum_l ||sg(z_l) - e_l||^2 )

with all terms as means over pixels or positions and channels; the last one is there if the codebooks learn by loss,
else they are moving averages, in `extra` (`genjax.nn.quantize`).

It draws no pictures by itself: priors over the codes do, the top one on its own and each finer one given the coarser
(`families/code_prior.py`, on the `Tokenizer` that this family offers). Codes are ordered coarse to fine.

Metrics: `reconstruction` (first term), `commitment` (sum over levels, without its cost), `psnr` in dB at the range 2
of [-1, 1], and of each batch's codes `perplexity_l` and `usage_l`, l = 0 for the coarsest level.

Deviations: reconstructions are clipped to [-1, 1], not in the loss. See `genjax.nn.hierarchy` for what the paper
leaves open.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import mean_flat, psnr
from genjax.families.base import (
    Codes,
    Conditions,
    Family,
    LossInputs,
    LossOutputs,
    Player,
    Samples,
    Tokenizer,
    Weights,
    read_settings,
    refuse_parents,
)
from genjax.families.base_terms import code_shares, mean_of, summarize_shares
from genjax.losses.vq import codebook_loss, commitment_loss
from genjax.nn import hierarchy, quantize
from genjax.nn.hierarchy import Hierarchy, Vectors
from genjax.nn.quantize import CodebookSettings, EmaCodebook, Quantized
from genjax.typing import Batch, DataSpec, Image, Key, Params, PyTree


class Settings(NamedTuple):
    """`config.model`: see `configs.codebooks.vqvae2` for each field."""

    codebook: Mapping[str, Any]
    downs: tuple[int, ...] = (2, 1)
    width: int = 128
    num_res_blocks: int = 2
    res_width: int = 64
    commitment_cost: float = 0.25
    data_variance: float = 1.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The pieces that the settings name, ready to use."""

    spec: DataSpec
    network: Hierarchy
    codebook: CodebookSettings
    commitment_cost: float
    data_variance: float


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: not read, since nothing is sampled.
        spec: shape of the data.
        parents: none.

    Raises:
        ValueError: for unknown names, fewer than two levels, or pictures that can't be halved so often.
    """
    refuse_parents(parents, "vqvae2")
    settings = read_settings(Settings, model, "config.model of the vqvae2 family")
    codebook = read_settings(CodebookSettings, settings.codebook, "config.model.codebook of the vqvae2 family")
    quantize.check(codebook)
    downs = tuple(settings.downs)
    grids = _grids(downs, spec.image_shape[:2])
    sizes = {name: getattr(settings, name) for name in ("width", "num_res_blocks", "res_width", "dtype")}
    pieces = Model(
        spec=spec,
        network=Hierarchy(spec.image_shape[2], downs, codebook.dim, **sizes),
        codebook=codebook,
        commitment_cost=settings.commitment_cost,
        data_variance=settings.data_variance,
    )
    coupled = quantize.MOVES_ONCE if codebook.learning == "ema" else ""
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces), batch_coupled=coupled, summarize=summarize_shares),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=Tokenizer(
            partial(encode, pieces), partial(decode, pieces), codebook.num_codes, grids, spec.image_shape
        ),
        logical_axes=(*quantize.LOGICAL_AXES, *hierarchy.LOGICAL_AXES),
        reconstruct=partial(reconstruct, pieces),
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
            f"pictures of {height}x{width} can't be halved {sum(downs)} times; change config.model.downs={downs} "
            "or config.data.image_size"
        )
    factors = [2 ** sum(downs[: level + 1]) for level in range(len(downs))]
    return tuple((height // factor, width // factor) for factor in reversed(factors))


def init(model: Model, key: Key, batch: Batch):
    """A fresh network and codebooks: among the parameters if they learn by loss, else in `extra`; coarse to fine."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    keys = [rng.stream(key, "codebook", level) for level in range(len(model.network.downs))]
    vectors = tuple(quantize.init_vectors(key, model.codebook) for key in keys)
    network = model.network.init(rng.stream(key, "network"), image, vectors)["params"]
    if model.codebook.learning == "ema":
        return {"model": {"network": network}}, tuple(quantize.init_ema(key, model.codebook) for key in keys)
    return {"model": {"network": network, "codebook": vectors}}, ()


def code_vectors(model: Model, params: Params, extra: PyTree) -> Vectors:
    """The codebooks, wherever they are, coarse to fine."""
    if model.codebook.learning == "ema":
        return tuple(codebook.vectors for codebook in extra)
    return tuple(params["codebook"])


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """The batch's loss; with it the codebooks' moving averages go on."""
    x = inputs.batch["image"]
    vectors = code_vectors(model, params, inputs.extra)
    x_hat, quantized = model.network.apply({"params": params["network"]}, x, vectors)
    reconstruction = mean_of(mean_flat(jnp.square(x_hat - x)) / model.data_variance)
    commitment = mean_of(sum(commitment_loss(level.z, level.z_q) for level in quantized), model.commitment_cost)
    terms = {"reconstruction": reconstruction, "commitment": commitment}
    if model.codebook.learning == "loss":
        terms["codebook"] = mean_of(sum(codebook_loss(level.z, level.z_q) for level in quantized))
        extra = inputs.extra
    else:
        extra = _update(model, inputs.extra, quantized, inputs.key)
    metrics = {"reconstruction": reconstruction, "commitment": commitment, "psnr": mean_of(psnr(_clip(x_hat), x))}
    for level, found in enumerate(quantized):
        metrics[f"shares_{level}"] = code_shares(found.codes, model.codebook.num_codes)
    return LossOutputs(terms, metrics, extra)


def _update(model: Model, codebooks: tuple[EmaCodebook, ...], quantized: tuple[Quantized, ...], key: Key):
    return tuple(
        quantize.update_ema(codebook, found, rng.stream(key, "restart", level), model.codebook)
        for level, (codebook, found) in enumerate(zip(codebooks, quantized, strict=True))
    )


def _clip(images: Image) -> Image:
    return jnp.clip(images, -1.0, 1.0)


def _quantized(model: Model, weights: Weights, images: Image) -> tuple[Quantized, ...]:
    params = weights.params["model"]
    vectors = code_vectors(model, params, weights.extra)
    return model.network.apply({"params": params["network"]}, images, vectors, method="encode")


def encode(model: Model, weights: Weights, images: Image) -> Codes:
    """The codes of pictures at each level, int32 [b, *grid], coarse to fine."""
    return tuple(level.codes for level in _quantized(model, weights, images))


def decode(model: Model, weights: Weights, codes: Codes) -> Image:
    """The pictures of the codes of all levels, coarse to fine, in [-1, 1]."""
    params = weights.params["model"]
    vectors = code_vectors(model, params, weights.extra)
    z_q = tuple(quantize.lookup(level, own) for level, own in zip(codes, vectors, strict=True))
    return _clip(model.network.apply({"params": params["network"]}, z_q, method="decode"))


def reconstruct(model: Model, weights: Weights, images: Image, key: Key) -> Image:
    """Pictures through the codes and back; nothing is random."""
    return decode(model, weights, encode(model, weights, images))


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """Of each held-out example: psnr in dB, and the terms of the loss."""
    x = batch["image"]
    quantized = _quantized(model, weights, x)
    x_hat = decode(model, weights, tuple(level.codes for level in quantized))
    return {
        "psnr": psnr(x_hat, x),
        "reconstruction": mean_flat(jnp.square(x_hat - x)) / model.data_variance,
        "commitment": sum(commitment_loss(level.z, level.z_q) for level in quantized),
    }


def sample(weights: Weights, conditions: Conditions, key: Key) -> Samples:
    """Refuses: codebooks draw no pictures.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "a codebook draws no pictures: train a prior: launch/train.py --config=configs/vqvae2_prior_digits.py "
        "--config.stages.tokenizer.workdir=THIS_RUN --workdir=DIR, and sample from that"
    )
