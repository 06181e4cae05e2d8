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

With `low_res` the model enlarges small pictures instead of drawing some from nothing (`genjax.diffusion.conditioning`):
the network sees the small picture, as large as x_t, in more channels of its input. Nothing else differs.

Deviations: ADM's two-file recipe for guidance is here a setting of the same family, not another program; so is
super-resolution.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.diffusion import (
    conditioning,
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
from genjax.diffusion.conditioning import Cond, LowRes
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
    SuperResolver,
    Weights,
    read_settings,
    refuse_parents,
)
from genjax.nn import denoising
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params, PerExample


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
    low_res: Mapping[str, Any] = MappingProxyType({})
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
    aug_level: float = 0.0


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
    variance: str
    objective: loss.Objective
    low_res: LowRes | None = None

    @property
    def num_classes(self) -> int:
        """Classes that the network is told of; also the label of the null class."""
        return self.spec.num_classes if self.settings.conditional else 0

    @property
    def options(self) -> dict[str, float]:
        """Scalars that sampling knows -> the values at which they are left out."""
        return {"guidance_scale": 1.0} | ({"aug_level": 0.0} if self.low_res and self.low_res.max_aug_level else {})


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
    sample = _guided(pieces, ())
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=_interface(pieces, sample),
        logical_axes=denoising.LOGICAL_AXES,
        reconstruct=partial(super_resolve, pieces) if pieces.low_res else None,
    )


def _interface(model: Model, sample: SampleFn) -> ImageSampler | SuperResolver:
    """What later stages see of it."""
    shape = model.spec.image_shape
    if model.low_res:
        return SuperResolver(sample, shape, conditioning.check(model.low_res, shape), model.num_classes, model.options)
    guidable = Guidable(model.schedule, partial(_guided, model))
    likelihoods = {"bound": partial(bound, model), "ode": partial(ode_likelihood, model)}
    return ImageSampler(sample, shape, model.num_classes, model.options, guidable, likelihoods, _distillable(model))


def _distillable(model: Model) -> Distillable:
    """What students learn from: the network as it is, guided where a scale is given, without thresholding."""
    smooth = model._replace(sampling=model.sampling._replace(threshold={"name": "none"}))
    return Distillable(
        schedule=model.schedule,
        init=lambda key, batch: init(model, key, batch)[0]["model"],
        params=lambda weights: weights.params["model"],
        denoiser=lambda params, conditions: _denoiser(
            smooth, params, _cond(model, conditions), conditions.get("guidance_scale")
        ),
    )


def _pieces(settings: Settings, sampling: Sampling, spec: DataSpec) -> Model:
    if settings.conditional and not spec.num_classes:
        raise ValueError("config.model.conditional=True needs data with class labels, and this has none")
    low_res = read_settings(LowRes, settings.low_res, "config.model.low_res") if settings.low_res else None
    if low_res:
        conditioning.check(low_res, spec.image_shape, sampling.aug_level)
    variance = sampling.sampler.get("variance", "learned_range" if settings.learned_variance else "fixed_small")
    schedule = schedules.make(**settings.schedule)
    channels = spec.image_shape[-1]
    return Model(
        settings=settings,
        sampling=sampling,
        spec=spec,
        network=denoising.make(
            out_channels=2 * channels if settings.learned_variance else channels,
            num_classes=spec.num_classes if settings.conditional else 0,
            null_class=settings.label_dropout > 0,
            dtype=settings.dtype,
            **settings.network,
            **(conditioning.network_fields(low_res, spec.image_shape) if low_res else {}),
        ),
        schedule=schedule,
        parameterization=parameterization.make(**settings.parameterization),
        weighting=weighting.make(**settings.weighting),
        times=time_samplers.make(schedule=schedule, **settings.time_sampler),
        variance=variance,
        objective=loss.make(settings.objective, settings.learned_variance, settings.vb_weight, variance),
        low_res=low_res,
    )


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters, and the history of the time sampler."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    label = jnp.zeros((1,), jnp.int32) if model.num_classes else None
    level = jnp.zeros((1,)) if "aug_level" in model.options else None
    inputs = denoising.inputs(image, jnp.zeros((1,)), Cond(label, image if model.low_res else None, level))
    return {"model": model.network.init(key, *inputs)["params"]}, model.times.init()


def bind(model: Model, params: Params, cond: Cond, dropout: Key | None = None) -> denoisers.Net:
    """The network as a function of (c_in * x_t, c_noise); dropout is on if a key for it is given."""

    def net(x, c_noise):
        rngs = None if dropout is None else {"dropout": dropout}
        inputs = denoising.inputs(x, c_noise, cond)
        return model.network.apply({"params": params}, *inputs, train=dropout is not None, rngs=rngs)

    return net


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean weighted denoising loss of a batch, at times drawn for it."""
    key = inputs.key
    x0, cond = _training_pair(model, inputs.batch, key)
    t, weight = model.times(rng.stream(key, "time"), x0.shape[0], inputs.extra)
    net = bind(model, params, cond, rng.stream(key, "dropout"))
    values, metrics = _losses(model, net, x0, t, rng.stream(key, "noise"))
    extra = model.times.update(inputs.extra, t, values)
    return jnp.mean(weight * values), LossOutputs(extra, {name: jnp.mean(value) for name, value in metrics.items()})


def _training_pair(model: Model, batch: Batch, key: Key) -> tuple[Image, Cond]:
    """(x0, what is told of it), a share of which is left out."""
    x0, cond = batch["image"], Cond()
    if model.low_res:
        x0, cond = conditioning.training_pair(model.low_res, x0, rng.stream(key, "low_res"))
    if model.num_classes:
        cond = cond._replace(label=batch["label"])
    return x0, _leave_out(model, cond, jax.random.uniform(rng.stream(key, "label"), x0.shape[:1]))


def _leave_out(model: Model, cond: Cond, chance: PerExample | float) -> Cond:
    dropout = model.low_res.dropout if model.low_res else 0.0
    return conditioning.leave_out(cond, chance, model.num_classes, model.settings.label_dropout, dropout)


def _cond(model: Model, conditions: Mapping[str, Any], key: Key | None = None) -> Cond:
    """What is told of pictures to be drawn or judged; the key, or keys [b], are those of the noise on small ones."""
    cond = Cond()
    if model.low_res:
        cond = conditioning.given(model.low_res, model.spec.image_shape, conditions, key)
    return cond._replace(label=conditions.get("label")) if model.num_classes else cond


def _losses(model: Model, net: denoisers.Net, x0: Image, t: PerExample, key: Key):
    """(loss of each example [b], its parts by name)."""
    return model.objective(net, model.parameterization, model.weighting, model.schedule, x0, t, key)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """The loss of each example at one time of its own; the times of a batch are spread evenly."""
    x0 = batch["image"]
    times = time_samplers.stratified(model.schedule)
    t, _ = times(rng.stream(key, "time"), x0.shape[0])
    conditions = _shrunk(model, batch) if model.low_res else batch
    net = bind(model, weights.params["model"], _cond(model, conditions, rng.stream(key, "low_res")))
    values, metrics = _losses(model, net, x0, t, rng.stream(key, "noise"))
    return {"loss": values, **metrics}


def _shrunk(model: Model, batch: Batch) -> dict[str, Any]:
    """Conditions under which the pictures of a batch are to be enlarged again, with the config's own options."""
    asked = {name: getattr(model.sampling, name) for name in model.options}
    low_res = conditioning.shrink(batch["image"], conditioning.check(model.low_res, model.spec.image_shape))
    return {**batch, "low_res": low_res} | {k: v for k, v in asked.items() if v != model.options[k]}


def super_resolve(model: Model, weights: Weights, images: Image, key: Key) -> Image:
    """Pictures made small, and large again. Their classes aren't known here: where the model asks for them it is told
    the null class, or, if it has none, classes drawn at random."""
    index = jnp.arange(images.shape[0])
    label = jax.random.randint(rng.stream(key, "label"), index.shape, 0, max(1, model.num_classes))
    if model.settings.label_dropout:
        label = jnp.full_like(index, model.num_classes)
    conditions = _shrunk(model, {"image": images, "label": label})
    return sample_images(model, (), weights, conditions | {"index": index}, key).images


def bound(model: Model, weights: Weights, batch: Batch, key: Key):
    """The whole variational bound of each example, by every step of the schedule, in bits a dimension."""
    denoise = _denoiser(model, weights.params["model"], _cond(model, batch, key))
    bits = likelihood.bits_per_dim(denoise, model.schedule, batch["image"], key, model.variance)
    return {"bits_per_dim": bits.total, "prior_bits": bits.prior, "decoder_bits": bits.vb[:, -1]}


def ode_likelihood(model: Model, weights: Weights, batch: Batch, key: Key):
    """Bits a dimension of each example under the probability flow, along the steps of `config.sampling.num_steps`."""
    smooth = model._replace(sampling=model.sampling._replace(threshold={"name": "none"}))
    denoise = _denoiser(smooth, weights.params["model"], _cond(model, batch, key))
    x0 = likelihood.dequantize(batch["image"], rng.stream(key, "dequantize"))
    return {"bits_per_dim": likelihood.ode_bits_per_dim(denoise, _grid(model), x0, key)}


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
            a classifier (absent: no guidance, and half the work); of a model that enlarges, "low_res" [b, h, w, c], the
            small pictures, and "aug_level" [], that of the noise laid on them (absent: 0). To edit pictures in
            [-1, 1]: "known" [b, h, w, c] and "mask" [b, h, w, 1], 1 = known, to inpaint, by RePaint where
            `config.sampling.resamples` > 1; "source" [b, h, w, c] to start from it, `config.sampling.strength` of the
            way up; with "target" [b, h, w, c] and "weight" [b] too, to interpolate their latents of DDIM.
        key: of the whole set of samples.

    Raises:
        ValueError: guidance of a model that was not trained for it, or no small pictures of the right size to enlarge.
    """
    keys = rng.of_samples(key, conditions["index"])
    levels = editing.tail(_grid(model), model.sampling.strength) if "source" in conditions else _grid(model)
    cond = _cond(model, conditions, process.fold(keys, 2))
    denoise = _denoiser(model, weights.params["model"], cond, conditions.get("guidance_scale"))
    mode = "mean" if model.sampling.sampler["name"] == "ancestral" else "score"
    for guide, inputs in zip(guides, weights.frozen["guides"] if guides else (), strict=True):
        denoise = guide(inputs, conditions, mode)(denoise)
    x_T = editing.start(denoise, levels, conditions, process.fold(keys, 0), model.spec.image_shape)
    sampler = samplers.make_for(model.sampling.sampler, model.schedule, model.variance)
    sampler, walk = editing.keep_known(sampler, levels, conditions, model.sampling.resamples)
    result = sample_lib.sample(denoise, sampler, walk, x_T, process.fold(keys, 1), trajectory=model.sampling.trajectory)
    if not model.sampling.trajectory:
        return Samples(result)
    images, path = result
    return Samples(images, path.x_t)


def _grid(model: Model) -> schedules.NoiseLevel:
    return grids.make(model.schedule, model.sampling.num_steps)


def _denoiser(
    model: Model, params: Params, cond: Cond, guidance_scale: Float[Array, ""] | float | None = None
) -> denoisers.Denoiser:
    """The network as a denoiser, guided where a scale is given, then thresholded."""
    make = partial(
        denoisers.make_denoiser,
        parameterization=model.parameterization,
        learned_variance=model.settings.learned_variance,
    )
    if guidance_scale is None:
        denoise = make(bind(model, params, cond))
    else:
        droppable = model.num_classes and model.settings.label_dropout
        if not (droppable or (model.low_res and model.low_res.dropout)):
            raise ValueError(
                "classifier-free guidance needs a conditional model trained with config.model.label_dropout > 0; "
                "use guidance_scale=1 with this one"
            )
        paired = guidance.pair(cond, _leave_out(model, cond, 0.0))
        guide = guidance.classifier_free(
            guidance_scale, model.sampling.guidance_interval or None, model.sampling.guidance_rescale or None
        )
        denoise = guide(make(bind(model, params, paired)))
    return thresholding.make(**model.sampling.threshold)(denoise)
