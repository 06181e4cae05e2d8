"""How all families of diffusion models sample, edit, upsample and evaluate images.

Sampling guides without a classifier, thresholds, guides by what comes from outside (`Guidable`), then steps. Each
image's noise comes from its own index. Images among the conditions are edited (`genjax.diffusion.editing`): kept in
part, started from, or interpolated. A model that was trained to inpaint sees what is known, and its estimate of x0 is
overwritten there at every step (GLIDE's release); any other keeps it by replacement or RePaint.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from genjax.conditioning import low_res as low_res_lib
from genjax.conditioning.inputs import Cond
from genjax.core import rng
from genjax.core.arguments import named
from genjax.core.images import dequantize
from genjax.diffusion import denoisers, editing, guidance, likelihood, process, samplers, thresholding
from genjax.diffusion import sample as sample_lib
from genjax.diffusion.grids import Walk
from genjax.diffusion.schedules import NoiseLevel
from genjax.families.interfaces import Conditions, GuideFn, Index, SampleFn, Samples, Weights
from genjax.families.shared import diffusion_model
from genjax.families.shared.diffusion_model import Model
from genjax.nn.layers import kernels
from genjax.typing import Array, Batch, Float, Image, Key, Params, PerExample, PyTree


def make_denoiser(
    model: Model, params: Params, cond: Cond, guidance_scale: Float[Array, ""] | float | None = None
) -> denoisers.Denoiser:
    """The network as a denoiser, guided where a scale is given, then thresholded.

    Args:
        model: the family's pieces.
        params: of the network and of the conditioner.
        cond: the conditioning, not yet encoded; see `diffusion_model.conditioning_from`.
        guidance_scale: of guidance without a classifier.

    Raises:
        ValueError: guidance of a model that was not trained for it.
    """
    make = partial(
        denoisers.make_denoiser,
        parameterization=model.parameterization,
        learned_variance=model.settings.learned_variance,
    )
    if guidance_scale is None:
        denoise = make(diffusion_model.bind(model, params, diffusion_model.encode(model, params, cond)))
    else:
        if not model.droppable:
            raise ValueError(
                "classifier-free guidance needs a conditional model trained with config.model.label_dropout > 0, or "
                "one that was trained with dropped texts; use guidance_scale=1 with this one"
            )
        paired = diffusion_model.encode(
            model, params, guidance.pair(cond, diffusion_model.null_conditioning(model, cond))
        )
        guide = guidance.classifier_free(
            guidance_scale, model.sampling.guidance_interval or None, model.sampling.guidance_rescale or None
        )
        denoise = guide(make(diffusion_model.bind(model, params, paired)))
    with named("config.sampling.threshold."):
        return thresholding.make(**model.sampling.threshold)(denoise)


def without_threshold(model: Model) -> Model:
    """The model whose estimates of x0 are left as they are."""
    return model._replace(sampling=model.sampling._replace(threshold={"name": "none"}))


def guided(model: Model, guides: tuple[GuideFn, ...]) -> SampleFn:
    """`sample` under guides from outside."""
    return partial(sample_images, model, guides)


def sample_images(
    model: Model, guides: tuple[GuideFn, ...], weights: Weights, conditions: Conditions, index: Index, key: Key
) -> Samples:
    """Draw images.

    Args:
        model: the family's pieces.
        guides: guidance from outside, whose inputs are in `weights.guides`.
        weights: what to draw with.
        conditions: those that the model needs, and those of edits: what is `known` is kept by RePaint where
            `config.sampling.resamples` > 1 and the model wasn't trained to inpaint; a `source` is noised
            `config.sampling.strength` of the way up, and between two the latents of DDIM are interpolated. Without the
            option "guidance_scale" there is no guidance without a classifier, and half the work.
        index: the number of each sample.
        key: of the whole set of samples.

    Raises:
        ValueError: guidance of a model that was not trained for it, no text for one that needs it, or no low-
            resolution images of the right size to upsample.
    """
    keys, levels = rng.of_samples(key, index), model.levels()
    if conditions.source is not None:
        levels = editing.tail(levels, model.sampling.strength)
    denoise = _denoiser_for(model, weights, conditions, keys)
    mode = "mean" if model.sampling.sampler["name"] == "ancestral" else "score"
    if guides:
        denoise = _pulled(denoise, guides, weights.guides, conditions, mode)
    given = (conditions.source, conditions.target, conditions.weight, conditions.latent)
    x_T = editing.start(denoise, levels, process.fold(keys, 0), model.spec.image_shape, *given)
    if conditions.source is None and conditions.latent is None:
        x_T = model.sampling.noise_scale * x_T
    sampler = samplers.make_for(model.sampling.sampler, model.schedule, model.variance)
    walk: NoiseLevel | Walk = levels
    if model.inpaint and conditions.known is not None:
        denoise = editing.replace_known(conditions.known, conditions.mask)(denoise)
    else:
        resamples = model.sampling.resamples
        sampler, walk = editing.keep_known(sampler, levels, conditions.known, conditions.mask, resamples)
    result = sample_lib.sample(denoise, sampler, walk, x_T, process.fold(keys, 1), trajectory=model.sampling.trajectory)
    images, path = result if model.sampling.trajectory else (result, None)
    return Samples(images, path and path.x_t)  # type: ignore[arg-type]  # no pair


def _pulled(
    denoise: denoisers.Denoiser,
    guides: tuple[GuideFn, ...],
    inputs: Sequence[PyTree],
    conditions: Conditions,
    mode: str,
) -> denoisers.Denoiser:
    """The denoiser under all guides; a sum of guidance of x0 is clipped to [-1, 1], whatever each does by itself."""
    guided = [guide(held, conditions, mode) for guide, held in zip(guides, inputs, strict=True)]
    guided_denoise = guidance.together(guided)(denoise)
    return thresholding.static()(guided_denoise) if len(guided) > 1 and mode == "score" else guided_denoise


def _denoiser_for(model: Model, weights: Weights, conditions: Conditions, keys: Key) -> denoisers.Denoiser:
    """The denoiser under the conditions of sampling, with the keys [b] of the samples."""
    cond = diffusion_model.conditioning_from(model, weights.frozen, conditions, process.fold(keys, 2))
    return make_denoiser(model, weights.params["model"], cond, conditions.options.get("guidance_scale"))


def invert_images(model: Model, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Image:
    """x_T from which DDIM comes to the `source` under the other conditions; see `editing.invert`.

    Given as `latent` with the same conditions, DDIM returns the image; with others, its variation under them.
    """
    keys, refinements = rng.of_samples(key, index), editing.INVERSION_REFINEMENTS
    denoise = _denoiser_for(model, weights, conditions, keys)
    return editing.invert(denoise, model.levels(), conditions.source, process.fold(keys, 0), refinements)


def conditions_of(model: Model, batch: Batch) -> Conditions:
    """The conditions of a batch; a model that upsamples is to make its images again, with the config's own options."""
    conditions = Conditions.of_batch(batch)
    if not model.low_res:
        return conditions
    requested = {name: getattr(model.sampling, name, neutral) for name, neutral in model.options.items()}
    low_res = low_res_lib.downsample(batch["image"], low_res_lib.check(model.low_res, model.spec.image_shape))
    options = {name: value for name, value in requested.items() if value != model.options[name]}
    return conditions._replace(low_res=low_res, options=options)


def super_resolve(model: Model, weights: Weights, images: Image, key: Key) -> Image:
    """Images downsampled and upsampled again. Their classes and captions aren't known here: where the model needs
    classes it gets the null class, or, if it has none, classes drawn at random; where it needs texts, the empty one.
    """
    index = jnp.arange(images.shape[0])
    label = jax.random.randint(rng.stream(key, "label"), index.shape, 0, max(1, model.num_classes))
    if model.settings.label_dropout:
        label = jnp.full_like(index, model.num_classes)
    tokens = jnp.zeros((*index.shape, model.text_length), jnp.int32)
    conditions = conditions_of(model, {"image": images, "label": label, "tokens": tokens})
    return sample_images(model, (), weights, conditions, index, key).images


def bound(model: Model, weights: Weights, batch: Batch, key: Key) -> dict[str, PerExample]:
    """The whole variational bound of each example, by every step of the schedule, in bits a dimension."""
    cond = diffusion_model.conditioning_from(model, weights.frozen, conditions_of(model, batch), key)
    denoise = make_denoiser(model, weights.params["model"], cond)
    bits = likelihood.bits_per_dim(denoise, model.schedule, batch["image"], key, model.variance)
    return {"bits_per_dim": bits.total, "prior_bits": bits.prior, "decoder_bits": bits.vb[:, -1]}


def ode_likelihood(model: Model, weights: Weights, batch: Batch, key: Key) -> dict[str, PerExample]:
    """Bits a dimension of each example under the probability flow, along the steps of `config.sampling.num_steps`.

    It takes forward derivatives of the network, which kernels of attention don't have.
    """
    cond = diffusion_model.conditioning_from(model, weights.frozen, conditions_of(model, batch), key)
    denoise = make_denoiser(without_threshold(model), weights.params["model"], cond)
    x0 = dequantize(batch["image"], rng.stream(key, "dequantize"))
    with kernels.kernel("xla"):
        return {"bits_per_dim": likelihood.ode_bits_per_dim(denoise, model.levels(), x0, key)}
