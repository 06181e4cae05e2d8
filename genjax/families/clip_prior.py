"""unCLIP's diffusion prior: a CLIP embedding of an image for a caption (DALL-E 2, arXiv:2204.06125, section 2.2).

With y the caption and z_i^t the embedding under the noise of step t, a causal transformer f minimises

    E_t,eps  | f(z_i^t, t, y) - z_i |^2                                                      (eq. 2)

an estimate of the embedding itself, not of the noise, on a cosine schedule of 1000 steps. Embeddings have length 1; the
noise meets them multiplied by `scale` (17.2 for CLIP's 1024 dimensions in the paper), or, with `fit_steps`, freed of
their mean and divided by their standard deviation in each dimension, as in Karlo.

Sampling guides without a classifier, thresholds (Karlo clips at 10), steps, undoes the scaling, brings the result to
length 1, and keeps the better of `candidates` draws (`genjax.families.shared.prior`).

Evaluation: `loss` at times spread evenly, and `cosine` of estimate and embedding there.

Deviations: the paper samples with Analytic-DPM in 64 steps; here with any sampler, by default ancestral. The caption is
encoded by CLIP alone (`genjax.nn.prior_transformer`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.core import moments as moments_lib
from genjax.core import rng
from genjax.core.arguments import named
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
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, EmbeddingSampler, ImageTextEncoder, Index, Weights
from genjax.families.shared import prior as prior_lib
from genjax.families.shared.assembly import builder, one_player
from genjax.families.shared.prior import Caption
from genjax.families.terms import mean_of, present
from genjax.nn import prior_transformer
from genjax.nn.prior_transformer import PriorTransformer
from genjax.typing import Array, Batch, DataSpec, Float, Key, Params

OPTIONS = {"guidance_scale": 1.0}
PARAMETERIZATION = parameterization.x0()
LEAST_STD = 1e-6


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        schedule: "name" and fields of `genjax.diffusion.schedules`.
        network: fields of `genjax.nn.prior_transformer.PriorTransformer`.
        text_dropout: share of captions that are dropped, for guidance.
        scale: embeddings, of length 1, meet the noise multiplied by this ..
        fit_steps: .. or whitened, by what so many first batches say, on which nothing is learned; 0 = not.
        dtype: of the network's computation; parameters stay float32.
    """

    schedule: Mapping[str, Any]
    network: Mapping[str, Any]
    text_dropout: float = 0.1
    scale: float = 1.0
    fit_steps: int = 0
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`.

    Attributes:
        sampler, num_steps, threshold, guidance_scale, batch_size: as of `diffusion_settings.Sampling`.
        candidates: draws for a caption, of which the one that is nearest to it is kept.
    """

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
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    clip: ImageTextEncoder
    network: PriorTransformer
    schedule: schedules.Schedule

    def init(self, key: Key, batch: Batch):
        """Fresh parameters, and the scaling before anything is measured."""
        embed = jnp.zeros((1, self.clip.dim))
        states = jnp.zeros((1, self.clip.text.length, self.clip.text.dim))
        params = self.network.init(key, embed, jnp.zeros((1,)), states, jnp.ones(states.shape[:2], bool), embed)[
            "params"
        ]
        scale = jnp.full((self.clip.dim,), 1 / self.settings.scale)
        return {"model": params}, Whitening(jnp.zeros_like(scale), scale, moments_lib.empty(self.clip.dim))

    def bind(self, params: Params, caption: Caption, dropout: Key | None = None) -> denoisers.Net:
        """The network as a function of (c_in * x_t, c_noise); dropout is on if a key for it is given."""

        def net(x, c_noise):
            rngs = None if dropout is None else {"dropout": dropout}
            return self.network.apply({"params": params}, x, c_noise, *caption, train=dropout is not None, rngs=rngs)

        return net

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean squared error of the whitened embeddings of a batch, at times drawn for it; 0 while they are
        measured.
        """
        key, fit_steps = inputs.key, self.settings.fit_steps
        embed = prior_lib.read_image(self.clip, inputs.frozen, inputs.batch)
        extra = self._observed(inputs.extra, embed, inputs.step) if fit_steps else inputs.extra
        caption = prior_lib.read_caption(self.clip, inputs.frozen, inputs.batch["tokens"])
        caption = prior_lib.drop_share(caption, self.settings.text_dropout, rng.stream(key, "text"))
        net = self.bind(params, caption, rng.stream(key, "dropout"))
        t, _ = time_samplers.uniform(self.schedule)(rng.stream(key, "time"), embed.shape[0])
        x0, noise = _whiten(inputs.extra, embed), rng.stream(key, "noise")
        values = loss.denoising_loss(net, PARAMETERIZATION, weighting.x0(), self.schedule, x0, t, noise).loss
        learning = (inputs.step >= fit_steps).astype(jnp.float32)
        return LossOutputs({"loss": mean_of(values, learning)}, {}, extra)

    def _observed(self, before: Whitening, embed: Float[Array, "b d"], step) -> Whitening:
        fit_steps = self.settings.fit_steps
        moments = prior_lib.observe(before.moments, embed, step, fit_steps)
        mean, std = prior_lib.fit_once(
            lambda: (moments.mean, jnp.maximum(moments.std, LEAST_STD)), (before.mean, before.std), step, fit_steps
        )
        return Whitening(mean, std, moments)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Loss and cosine of each example at one time of its own; the times of a batch are spread evenly."""
        embed = prior_lib.read_image(self.clip, weights.frozen, batch)
        caption = prior_lib.read_caption(self.clip, weights.frozen, batch["tokens"])
        net = self.bind(weights.params["model"], caption)
        x0 = _whiten(weights.extra, embed)
        t = time_samplers.even(self.schedule, rng.stream(key, "time"), present(batch))[0]
        level, noise = self.schedule(t), rng.stream(key, "noise")
        x_t = process.diffuse(x0, process.noise_like(noise, x0), level)
        estimate = net(x_t, PARAMETERIZATION(level).c_noise)
        guess = prior_lib.normalise(estimate * weights.extra.std + weights.extra.mean)
        error = jnp.mean(jnp.square(estimate - x0), axis=-1)
        return {"loss": error, "cosine": jnp.sum(guess * embed, axis=-1)}

    def sample_embeddings(
        self, weights: Weights, conditions: Conditions, index: Index, key: Key
    ) -> Float[Array, "b d"]:
        """Draw embeddings (`EmbeddingSampler`).

        Raises:
            ValueError: guidance of a model that was not trained for it.
        """
        conditions.check_guidance(self.settings.text_dropout, "a prior trained with config.model.text_dropout > 0")
        caption = prior_lib.read_caption(self.clip, weights.frozen, conditions.tokens)
        denoise = self._denoiser(weights.params["model"], caption, conditions.options.get("guidance_scale"))
        sampler = samplers.make_for(self.sampling.sampler, self.schedule, "fixed_small")
        levels = self._grid()

        def draw(keys: Key) -> Float[Array, "b d"]:
            x_T = process.sample_prior(process.fold(keys, 0), (keys.shape[0], self.clip.dim), levels)
            x0 = sample_lib.sample(denoise, sampler, levels, x_T, process.fold(keys, 1))
            return x0 * weights.extra.std + weights.extra.mean

        keys = rng.of_samples(key, index)
        return prior_lib.best_of(draw, self.sampling.candidates, caption.embed, keys)

    def _grid(self) -> schedules.NoiseLevel:
        return grids.make(self.schedule, self.sampling.num_steps)

    def _denoiser(self, params: Params, caption: Caption, guidance_scale=None) -> denoisers.Denoiser:
        """The network as a denoiser, guided where a scale is given, then thresholded."""
        if guidance_scale is None:
            denoise = denoisers.make_denoiser(self.bind(params, caption), PARAMETERIZATION)
        else:
            paired = guidance.pair(caption, prior_lib.drop(caption, True))
            denoise = denoisers.make_denoiser(self.bind(params, paired), PARAMETERIZATION)
            denoise = guidance.classifier_free(guidance_scale)(denoise)
        with named("config.sampling.threshold."):
            return thresholding.make(**self.sampling.threshold)(denoise)


@builder("clip_prior", Settings, Sampling, clip=ImageTextEncoder)
def build(settings: Settings, sampling: Sampling, spec: DataSpec, clip: ImageTextEncoder) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, or a CLIP of other captions.
    """
    prior_lib.check_clip(clip, spec, "clip_prior")
    network = PriorTransformer(clip.dim, dtype=settings.dtype, **settings.network)
    model = Model(settings, sampling, clip, network, schedules.make(**settings.schedule))
    model._grid()  # so that a wrong notation is an error before training, not after
    interface = EmbeddingSampler(model.sample_embeddings, clip.dim, clip.text.length, OPTIONS)
    return one_player(model, interface, prior_transformer.LOGICAL_AXES)


def _whiten(whitening: Whitening, embed: Float[Array, "b d"]) -> Float[Array, "b d"]:
    return (embed - whitening.mean) / whitening.std
