"""Diffusion models: DDPM, Improved DDPM, ADM, and classifier-free guidance, with or without class labels.

One player minimises, for x_t = alpha x0 + sigma eps at a drawn time t,

    E_t,eps  w(t) | x0_hat(x_t, t, y) - x0 |^2                       (DDPM, arXiv:2006.11239, eq. 14)

where schedule, parameterization, weighting and times come from `genjax.diffusion` by the names in the config. With
`learned_variance` the network also predicts the variance, trained by the variational term of L_hybrid (Improved DDPM,
arXiv:2102.09672); with the objective "variational", mean and variance are trained by that term alone, L_vlb. With
`label_dropout` a share of the labels is replaced by the null class, so that one network is both the conditional and the
unconditional model that classifier-free guidance needs (arXiv:2207.12598).

Sampling guides without a classifier, thresholds, guides by what comes from outside (`Guidable`), then steps. Each
picture's noise comes from its own index. Pictures among the conditions are edited (`genjax.diffusion.editing`): kept in
part, started from, or interpolated.

Deviations: ADM's two-file recipe for guidance is here a setting of the same family, not another program.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.diffusion import (
    denoisers,
    editing,
    grids,
    guidance,
    likelihood,
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
from genjax.families.base import (
    Conditions,
    Distillable,
    Family,
    Guidable,
    GuideFn,
    ImageSampler,
    LossInputs,
    LossOutputs,
    Player,
    SampleFn,
    Samples,
    Weights,
    read_settings,
    refuse_parents,
)
from genjax.nn import dit, unet
from genjax.typing import Batch, DataSpec, Image, Key, Labels, Params

OBJECTIVES = ("simple", "variational")
NETWORKS = {"dit": dit.DiT, "unet": unet.UNet}
INVERSION_REFINEMENTS = 2
"""Of a picture's latent, at each step: 25 steps on the digits return it within .017 (root mean square) instead of .052,
and within .004 instead of .043 if the first of them, of almost no signal, is left out (`sampling.strength`)."""
THRESHOLDS = {"static": thresholding.static, "dynamic": thresholding.dynamic}


class Settings(NamedTuple):
    """`config.model`: see `configs.common.diffusion` for each field."""

    schedule: Mapping[str, Any]
    parameterization: Mapping[str, Any]
    weighting: Mapping[str, Any]
    time_sampler: Mapping[str, Any]
    network: Mapping[str, Any]
    objective: str = "simple"
    learned_variance: bool = False
    vb_weight: float = 1.0
    conditional: bool = False
    label_dropout: float = 0.0
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`: see `configs.common.diffusion` for each field."""

    sampler: Mapping[str, Any]
    num_steps: str | int
    threshold: Mapping[str, Any]
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, ...] = ()
    guidance_rescale: float = 0.0
    trajectory: bool = False
    batch_size: int = 64
    strength: float = 1.0
    resamples: int = 1


class Model(NamedTuple):
    """The pieces that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    spec: DataSpec
    network: Any
    schedule: schedules.Schedule
    parameterization: parameterization.Parameterizer
    weighting: weighting.Weighting
    times: time_samplers.TimeSampler

    @property
    def num_classes(self) -> int:
        """Classes that the network is told of; also the label of the null class."""
        return self.spec.num_classes if self.settings.conditional else 0


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: fields of `Sampling`.
        spec: shape and classes of the data.
        parents: none.

    Raises:
        ValueError: for unknown names, or a conditional model of unlabelled data.
    """
    refuse_parents(parents, "diffusion")
    pieces = _pieces(
        read_settings(Settings, model, "config.model of the diffusion family"),
        read_settings(Sampling, sampling, "config.sampling of the diffusion family"),
        spec,
    )
    _grid(pieces)  # so that a bad notation is told of before training, not after
    sample, guidable = _guided(pieces, ()), Guidable(pieces.schedule, partial(_guided, pieces))
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=ImageSampler(
            sample,
            spec.image_shape,
            pieces.num_classes,
            {"guidance_scale": 1.0},
            guidable,
            {"bound": partial(bound, pieces), "ode": partial(ode_likelihood, pieces)},
            _distillable(pieces),
        ),
        logical_axes=(*unet.LOGICAL_AXES, *dit.LOGICAL_AXES),
    )


def _distillable(model: Model) -> Distillable:
    """What students learn from: the network as it is, guided where a scale is given, without thresholding."""
    smooth = model._replace(sampling=model.sampling._replace(threshold={"name": "none"}))
    return Distillable(
        schedule=model.schedule,
        init=lambda key, batch: init(model, key, batch)[0]["model"],
        params=lambda weights: weights.params["model"],
        denoiser=lambda params, conditions: _denoiser(smooth, params, conditions),
    )


def _pieces(settings: Settings, sampling: Sampling, spec: DataSpec) -> Model:
    if settings.conditional and not spec.num_classes:
        raise ValueError("config.model.conditional=True needs data with class labels, and this has none")
    if settings.objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {settings.objective!r}; config.model.objective is one of {OBJECTIVES}")
    network = dict(settings.network)
    name = network.pop("name")
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; config.model.network.name is one of {sorted(NETWORKS)}")
    schedule = schedules.make(**settings.schedule)
    channels = spec.image_shape[-1]
    return Model(
        settings=settings,
        sampling=sampling,
        spec=spec,
        network=NETWORKS[name](
            out_channels=2 * channels if settings.learned_variance else channels,
            num_classes=spec.num_classes if settings.conditional else 0,
            null_class=settings.label_dropout > 0,
            dtype=settings.dtype,
            **network,
        ),
        schedule=schedule,
        parameterization=parameterization.make(**settings.parameterization),
        weighting=weighting.make(**settings.weighting),
        times=time_samplers.make(schedule=schedule, **settings.time_sampler),
    )


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters, and the history of the time sampler."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    label = jnp.zeros((1,), jnp.int32) if model.num_classes else None
    params = model.network.init(key, image, jnp.zeros((1,)), label)["params"]
    return {"model": params}, model.times.init()


def bind(model: Model, params: Params, label: Labels | None, dropout: Key | None = None) -> denoisers.Net:
    """The network as a function of (c_in * x_t, c_noise); dropout is on if a key for it is given."""

    def net(x, c_noise):
        rngs = None if dropout is None else {"dropout": dropout}
        return model.network.apply({"params": params}, x, c_noise, label, train=dropout is not None, rngs=rngs)

    return net


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean weighted denoising loss of a batch, at times drawn for it."""
    key, x0 = inputs.key, inputs.batch["image"]
    t, weight = model.times(rng.stream(key, "time"), x0.shape[0], inputs.extra)
    net = bind(
        model,
        params,
        _dropped_labels(model, inputs.batch, rng.stream(key, "label")),
        rng.stream(key, "dropout"),
    )
    values, metrics = _losses(model, net, x0, t, rng.stream(key, "noise"))
    extra = model.times.update(inputs.extra, t, values)
    return jnp.mean(weight * values), LossOutputs(extra, {name: jnp.mean(value) for name, value in metrics.items()})


def _dropped_labels(model: Model, batch: Batch, key: Key) -> Labels | None:
    """The labels, a share of them replaced by the null class; None for an unconditional model."""
    if not model.num_classes:
        return None
    dropped = jax.random.bernoulli(key, model.settings.label_dropout, batch["label"].shape)
    return jnp.where(dropped, model.num_classes, batch["label"])


def _losses(model: Model, net: denoisers.Net, x0: Image, t, key: Key):
    """(loss of each example [b], its parts by name)."""
    pieces = (net, model.parameterization, model.weighting, model.schedule, x0, t, key)
    if model.settings.objective == "variational":
        return loss.variational_loss(net, model.parameterization, model.schedule, x0, t, key, _variance(model)), {}
    if not model.settings.learned_variance:
        return loss.denoising_loss(*pieces), {}
    hybrid = loss.hybrid_loss(*pieces, model.settings.vb_weight)
    return hybrid.loss, {"simple": hybrid.simple, "vb": hybrid.vb}


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """The loss of each example at one time of its own; the times of a batch are spread evenly."""
    x0 = batch["image"]
    times = time_samplers.stratified(model.schedule)
    t, _ = times(rng.stream(key, "time"), x0.shape[0])
    net = bind(model, weights.params["model"], batch["label"] if model.num_classes else None)
    values, metrics = _losses(model, net, x0, t, rng.stream(key, "noise"))
    return {"loss": values, **metrics}


def bound(model: Model, weights: Weights, batch: Batch, key: Key):
    """The whole variational bound of each example, by every step of the schedule, in bits a dimension."""
    denoise = _denoiser(model, weights.params["model"], batch)
    bits = likelihood.bits_per_dim(denoise, model.schedule, batch["image"], key, _variance(model))
    return {"bits_per_dim": bits.total, "prior_bits": bits.prior, "decoder_bits": bits.vb[:, -1]}


def ode_likelihood(model: Model, weights: Weights, batch: Batch, key: Key):
    """Bits a dimension of each example under the probability flow, along the steps of `config.sampling.num_steps`."""
    smooth = model._replace(sampling=model.sampling._replace(threshold={"name": "none"}))
    denoise = _denoiser(smooth, weights.params["model"], batch)
    x0 = likelihood.dequantize(batch["image"], rng.stream(key, "dequantize"))
    return {"bits_per_dim": likelihood.ode_bits_per_dim(denoise, _grid(model), x0, key)}


def _variance(model: Model) -> str:
    """The kind of variance of the reverse steps."""
    default = "learned_range" if model.settings.learned_variance else "fixed_small"
    return model.sampling.sampler.get("variance", default)


def _guided(model: Model, guides: tuple[GuideFn, ...]) -> SampleFn:
    """`sample` under guides from outside."""
    return partial(sample_images, model, guides)


def sample_images(
    model: Model, guides: tuple[GuideFn, ...], weights: Weights, conditions: Conditions, key: Key
) -> Samples:
    """Draw images, one for each entry of `conditions["index"]`.

    Args:
        model: the family's pieces.
        guides: pulls from outside, whose inputs are in `weights.frozen["guides"]`.
        weights: what to draw with.
        conditions: "index" int32 [b]; "label" int32 [b] for a conditional model; "guidance_scale" [] to guide without
            a classifier (absent: no guidance, and half the work). To edit pictures in [-1, 1]: "known" [b, h, w, c]
            and "mask" [b, h, w, 1], 1 = known, to inpaint, by RePaint where `config.sampling.resamples` > 1; "source"
            [b, h, w, c] to start from it, `config.sampling.strength` of the way up; with "target" [b, h, w, c] and
            "weight" [b] too, to interpolate their latents of DDIM.
        key: of the whole set of samples.

    Raises:
        ValueError: guidance of a model that was not trained for it.
    """
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(conditions["index"])
    levels = editing.tail(_grid(model), model.sampling.strength) if "source" in conditions else _grid(model)
    denoise = _denoiser(model, weights.params["model"], conditions)
    mode = "mean" if model.sampling.sampler["name"] == "ancestral" else "score"
    for guide, inputs in zip(guides, weights.frozen["guides"] if guides else (), strict=True):
        denoise = guide(inputs, conditions, mode)(denoise)
    x_T = _start(model, denoise, levels, conditions, process.fold(keys, 0))
    sampler, walk = _keeping(model, _sampler(model), levels, conditions)
    result = sample_lib.sample(denoise, sampler, walk, x_T, process.fold(keys, 1), trajectory=model.sampling.trajectory)
    if not model.sampling.trajectory:
        return Samples(result)
    images, path = result
    return Samples(images, path.x_t)


def _start(
    model: Model, denoise: denoisers.Denoiser, levels: schedules.NoiseLevel, conditions: Conditions, keys: Key
) -> Image:
    """x_T: noise, or what the pictures among the conditions are at the first level."""
    if "target" in conditions:
        ends = jnp.stack([conditions["source"], conditions["target"]])
        latents = jax.lax.map(lambda x0: editing.invert(denoise, levels, x0, keys, INVERSION_REFINEMENTS), ends)
        return editing.slerp(*latents, conditions["weight"])
    if "source" in conditions:
        return editing.diffuse_source(conditions["source"], levels, keys)
    return process.sample_prior(keys, (keys.shape[0], *model.spec.image_shape), levels)


def _keeping(
    model: Model, sampler: samplers.Sampler, levels: schedules.NoiseLevel, conditions: Conditions
) -> tuple[samplers.Sampler, schedules.NoiseLevel | grids.Walk]:
    """The sampler and its steps; where something is known, they keep it. Jumps are as long as RePaint's, 1 / 25."""
    if "known" not in conditions:
        return sampler, levels
    sampler = editing.inpaint(sampler, conditions["known"], conditions["mask"])
    if model.sampling.resamples == 1:
        return sampler, levels
    jump = max(1, (levels.alpha.shape[0] - 1) // 25)
    return sampler, editing.resampling_walk(levels, jump, model.sampling.resamples)


def _grid(model: Model) -> schedules.NoiseLevel:
    return grids.make(model.schedule, model.sampling.num_steps)


def _denoiser(model: Model, params: Params, conditions: Conditions) -> denoisers.Denoiser:
    """The network as a denoiser, guided where a scale is given, then thresholded."""
    label = conditions.get("label") if model.num_classes else None
    make = partial(
        denoisers.make_denoiser,
        parameterization=model.parameterization,
        learned_variance=model.settings.learned_variance,
    )
    if "guidance_scale" in conditions:
        if not (model.num_classes and model.settings.label_dropout):
            raise ValueError(
                "classifier-free guidance needs a conditional model trained with config.model.label_dropout > 0; "
                "use guidance_scale=1 with this one"
            )
        paired = make(bind(model, params, jnp.concatenate([label, jnp.full_like(label, model.num_classes)])))
        guide = guidance.classifier_free(
            conditions["guidance_scale"],
            model.sampling.guidance_interval or None,
            model.sampling.guidance_rescale or None,
        )
        denoise = guide(paired)
    else:
        denoise = make(bind(model, params, label))
    return _threshold(model)(denoise)


def _threshold(model: Model) -> denoisers.Guide:
    """The thresholding that the settings name."""
    settings = dict(model.sampling.threshold)
    name = settings.pop("name")
    if name == "none":
        return lambda denoise: denoise
    if name not in THRESHOLDS:
        raise ValueError(
            f"unknown threshold {name!r}; config.sampling.threshold.name is none or one of {sorted(THRESHOLDS)}"
        )
    return THRESHOLDS[name](**settings)


def _sampler(model: Model) -> samplers.Sampler:
    """The sampler that the settings name; churn is told the schedule."""
    settings = dict(model.sampling.sampler)
    if "churn" in settings:
        settings["schedule"] = model.schedule
    if settings["name"] == "ancestral":
        settings["variance"] = _variance(model)
    return samplers.make(**settings)
