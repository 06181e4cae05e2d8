"""unCLIP's diffusion prior: a CLIP embedding of a picture for a caption (DALL-E 2, arXiv:2204.06125, section 2.2).

With y the caption and z_i^t the embedding under the noise of step t, a causal transformer f minimises

    E_t,eps  | f(z_i^t, t, y) - z_i |^2                                                      (eq. 2)

an estimate of the embedding itself, not of the noise, on a cosine schedule of 1000 steps. Embeddings have length 1; the
noise meets them multiplied by `scale` (17.2 for CLIP's 1024 dimensions in the paper), or, with `fit_steps`, freed of
their mean and divided by their standard deviation in each dimension, as in Karlo.

Sampling guides without a classifier, thresholds (Karlo clips at 10), steps, undoes the scaling, brings the result to
length 1, and keeps the better of `candidates` draws (`genjax.families.base_prior`).

Evaluation: `loss` at times spread evenly, and `cosine` of estimate and embedding there.

Deviations: the paper samples with Analytic-DPM in 64 steps; here with any sampler, by default ancestral. The caption is
encoded by CLIP alone (`genjax.nn.prior_transformer`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import moments as moments_lib
from genjax.core import rng
from genjax.core.moments import Moments
from genjax.diffusion import (
    denoisers,
    grids,
    guidance,
    loss,
    parameterization,
    process,
    samplers,
    schedules,
    thresholding,
    time_samplers,
    weighting,
)
from genjax.diffusion import sample as sample_lib
from genjax.families import base_prior
from genjax.families.base import (
    Conditions,
    EmbeddingSampler,
    Family,
    ImageTextEncoder,
    LossInputs,
    LossOutputs,
    Player,
    Weights,
    read_settings,
)
from genjax.families.base_prior import Caption
from genjax.families.base_terms import mean_of, present
from genjax.nn import prior_transformer
from genjax.nn.prior_transformer import PriorTransformer
from genjax.typing import Array, Batch, DataSpec, Float, Key, Params, PerExample

OPTIONS = {"guidance_scale": 1.0}
PARAMETERIZATION = parameterization.x0()
LEAST_STD = 1e-6


class Settings(NamedTuple):
    """`config.model`: see `configs.dalle2s.prior` for each field."""

    schedule: Mapping[str, Any]
    network: Mapping[str, Any]
    text_dropout: float = 0.1
    scale: float = 1.0
    fit_steps: int = 0
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`: see `configs.dalle2s.prior` for each field."""

    sampler: Mapping[str, Any]
    num_steps: str | int
    threshold: Mapping[str, Any]
    guidance_scale: float = 1.0
    candidates: int = 2
    batch_size: int = 64


class Whitening(NamedTuple):
    """How embeddings meet the noise: (z - mean) / std; and what these are measured by."""

    mean: Float[Array, " d"]
    std: Float[Array, " d"]
    moments: Moments


class Model(NamedTuple):
    """The pieces that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    clip: ImageTextEncoder
    network: PriorTransformer
    schedule: schedules.Schedule


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: fields of `Sampling`.
        spec: what the data is.
        parents: "clip".

    Raises:
        ValueError: for unknown names, or a CLIP of other captions.
    """
    clip = base_prior.expect_clip(parents, spec, "clip_prior")
    settings = read_settings(Settings, model, "config.model of the clip_prior family")
    pieces = Model(
        settings=settings,
        sampling=read_settings(Sampling, sampling, "config.sampling of the clip_prior family"),
        clip=clip,
        network=PriorTransformer(clip.dim, dtype=settings.dtype, **settings.network),
        schedule=schedules.make(**settings.schedule),
    )
    _grid(pieces)  # so that a bad notation is told of before training, not after
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=base_prior.no_pictures,
        evaluate=partial(evaluate, pieces),
        interface=EmbeddingSampler(partial(sample_embeddings, pieces), clip.dim, clip.text.length, OPTIONS),
        logical_axes=tuple(prior_transformer.LOGICAL_AXES),
    )


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters, and the scaling before anything is measured."""
    embed = jnp.zeros((1, model.clip.dim))
    states = jnp.zeros((1, model.clip.text.length, model.clip.text.dim))
    params = model.network.init(key, embed, jnp.zeros((1,)), states, jnp.ones(states.shape[:2], bool), embed)["params"]
    scale = jnp.full((model.clip.dim,), 1 / model.settings.scale)
    return {"model": params}, Whitening(jnp.zeros_like(scale), scale, moments_lib.empty(model.clip.dim))


def bind(model: Model, params: Params, caption: Caption, dropout: Key | None = None) -> denoisers.Net:
    """The network as a function of (c_in * x_t, c_noise); dropout is on if a key for it is given."""

    def net(x, c_noise):
        rngs = None if dropout is None else {"dropout": dropout}
        return model.network.apply({"params": params}, x, c_noise, *caption, train=dropout is not None, rngs=rngs)

    return net


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean squared error of the whitened embeddings of a batch, at times drawn for it; 0 while they are measured."""
    key, fit_steps = inputs.key, model.settings.fit_steps
    embed = base_prior.read_image(model.clip, inputs.frozen, inputs.batch)
    extra = _observed(model, inputs.extra, embed, inputs.step) if fit_steps else inputs.extra
    caption = base_prior.read_caption(model.clip, inputs.frozen, inputs.batch["tokens"])
    dropped = jax.random.bernoulli(rng.stream(key, "text"), model.settings.text_dropout, embed.shape[:1])
    net = bind(model, params, base_prior.leave_out(caption, dropped), rng.stream(key, "dropout"))
    t, _ = time_samplers.uniform(model.schedule)(rng.stream(key, "time"), embed.shape[0])
    values = _losses(model, net, _whiten(inputs.extra, embed), t, rng.stream(key, "noise"))
    learning = (inputs.step >= fit_steps).astype(jnp.float32)
    return LossOutputs({"loss": mean_of(values, learning)}, {}, extra)


def _observed(model: Model, before: Whitening, embed: Float[Array, "b d"], step) -> Whitening:
    fit_steps = model.settings.fit_steps
    moments = base_prior.observe(before.moments, embed, step, fit_steps)
    mean, std = base_prior.fit_once(
        lambda: (moments.mean, jnp.maximum(moments.std, LEAST_STD)), (before.mean, before.std), step, fit_steps
    )
    return Whitening(mean, std, moments)


def _whiten(whitening: Whitening, embed: Float[Array, "b d"]) -> Float[Array, "b d"]:
    return (embed - whitening.mean) / whitening.std


def _losses(model: Model, net: denoisers.Net, x0: Float[Array, "b d"], t: PerExample, key: Key) -> PerExample:
    return loss.denoising_loss(net, PARAMETERIZATION, weighting.x0(), model.schedule, x0, t, key)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """Loss and cosine of each example at one time of its own; the times of a batch are spread evenly."""
    embed = base_prior.read_image(model.clip, weights.frozen, batch)
    caption = base_prior.read_caption(model.clip, weights.frozen, batch["tokens"])
    net = bind(model, weights.params["model"], caption)
    x0 = _whiten(weights.extra, embed)
    t = time_samplers.even(model.schedule, rng.stream(key, "time"), present(batch))[0]
    level, noise = model.schedule(t), rng.stream(key, "noise")
    x_t = process.diffuse(x0, process.noise_like(noise, x0), level)
    estimate = net(x_t, PARAMETERIZATION(level).c_noise)
    guess = base_prior.normalise(estimate * weights.extra.std + weights.extra.mean)
    error = jnp.mean(jnp.square(estimate - x0), axis=-1)
    return {"loss": error, "cosine": jnp.sum(guess * embed, axis=-1)}


def sample_embeddings(model: Model, weights: Weights, conditions: Conditions, key: Key) -> Float[Array, "b d"]:
    """Draw embeddings of length 1, one for each entry of `conditions["index"]`.

    Args:
        model: the family's pieces.
        weights: what to draw with.
        conditions: "index" int32 [b], "tokens" int32 [b, s]; "guidance_scale" [] (absent: no guidance, and half the
            work).
        key: of the whole set of samples.

    Raises:
        ValueError: guidance of a model that was not trained for it.
    """
    base_prior.check_guidance(conditions, model.settings.text_dropout)
    caption = base_prior.read_caption(model.clip, weights.frozen, conditions["tokens"])
    denoise = _denoiser(model, weights.params["model"], caption, conditions.get("guidance_scale"))
    sampler = samplers.make_for(model.sampling.sampler, model.schedule, "fixed_small")
    levels = _grid(model)

    def draw(keys: Key) -> Float[Array, "b d"]:
        x_T = process.sample_prior(process.fold(keys, 0), (keys.shape[0], model.clip.dim), levels)
        x0 = sample_lib.sample(denoise, sampler, levels, x_T, process.fold(keys, 1))
        return x0 * weights.extra.std + weights.extra.mean

    keys = rng.of_samples(key, conditions["index"])
    return base_prior.best_of(draw, model.sampling.candidates, caption.embed, keys)


def _grid(model: Model) -> schedules.NoiseLevel:
    return grids.make(model.schedule, model.sampling.num_steps)


def _denoiser(model: Model, params: Params, caption: Caption, guidance_scale=None) -> denoisers.Denoiser:
    """The network as a denoiser, guided where a scale is given, then thresholded."""
    if guidance_scale is None:
        denoise = denoisers.make_denoiser(bind(model, params, caption), PARAMETERIZATION)
    else:
        paired = guidance.pair(caption, base_prior.leave_out(caption, True))
        denoise = denoisers.make_denoiser(bind(model, params, paired), PARAMETERIZATION)
        denoise = guidance.classifier_free(guidance_scale)(denoise)
    return thresholding.make(**model.sampling.threshold)(denoise)
