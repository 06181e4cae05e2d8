"""A family of diffusion models from its pieces: what `genjax.families.diffusion` and its sisters share.

One player minimises, for x_t = alpha x0 + sigma eps at a drawn time t,

    E_t,eps  w(t) | x0_hat(x_t, t, told) - x0 |^2                       (DDPM, arXiv:2006.11239, eq. 14)

where schedule, parameterization, weighting and times come from `genjax.diffusion` by the names in the config. With
`learned_variance` the network also predicts the variance, trained by the variational term of L_hybrid (Improved DDPM,
arXiv:2102.09672); with the objective "variational", mean and variance are trained by that term alone, L_vlb. What the
network is told, a share of which is left out in training, is in `genjax.families.base_diffusion_model`; how it is drawn
with, in `genjax.families.base_diffusion_sampling`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from genjax.core import rng
from genjax.diffusion import conditioning, denoisers, time_samplers
from genjax.families import base_diffusion_model as pieces
from genjax.families import base_diffusion_sampling as sampling_lib
from genjax.families.base import (
    Distillable,
    Family,
    Guidable,
    ImageSampler,
    LossInputs,
    LossOutputs,
    Player,
    SampleFn,
    SuperResolver,
    Weights,
)
from genjax.families.base_diffusion_model import Conditioner, Model
from genjax.families.base_terms import mean_of, present
from genjax.nn import denoising
from genjax.typing import Batch, DataSpec, Image, Key, Params, PerExample

LOSS_AWARE = "the chances of its times (config.model.time_sampler.name='loss_aware') move once a batch"


def build(
    family: str,
    model: Mapping[str, Any],
    sampling: Mapping[str, Any],
    spec: DataSpec,
    conditioner: Conditioner | None = None,
    logical_axes: tuple[tuple[str, tuple[str | None, ...]], ...] = (),
) -> Family:
    """The family for the settings of a config.

    Args:
        family: its name, for errors.
        model: fields of `base_diffusion_model.Settings`.
        sampling: fields of `base_diffusion_model.Sampling`.
        spec: shape and classes of the data.
        conditioner: what the network is told beside classes and small pictures.
        logical_axes: of the conditioner's parameters.

    Raises:
        ValueError: for unknown names, or settings that don't fit together.
    """
    made = pieces.make(family, model, sampling, spec, conditioner)
    made.levels()  # so that a bad notation is told of before training, not after
    sample = sampling_lib.guided(made, ())
    coupled = LOSS_AWARE if made.settings.time_sampler["name"] == "loss_aware" else ""
    return Family(
        init=partial(pieces.init, made),
        players=(Player("model", partial(loss_fn, made), batch_coupled=coupled),),
        sample=sample,
        evaluate=partial(evaluate, made),
        interface=_interface(made, sample),
        logical_axes=(*denoising.LOGICAL_AXES, *logical_axes),
        reconstruct=partial(sampling_lib.super_resolve, made) if made.low_res else None,
        adopt=partial(adopt, made) if made.inpaint else None,
    )


def _interface(model: Model, sample: SampleFn) -> ImageSampler | SuperResolver:
    """What later stages see of it."""
    shape = model.spec.image_shape
    if model.low_res:
        small = conditioning.check(model.low_res, shape)
        return SuperResolver(sample, shape, small, model.num_classes, model.options, model.text_length)
    return ImageSampler(
        sample,
        shape,
        model.num_classes,
        model.options,
        guidable=Guidable(model.schedule, partial(sampling_lib.guided, model)),
        likelihoods={
            "bound": partial(sampling_lib.bound, model),
            "ode": partial(sampling_lib.ode_likelihood, model),
        },
        distillable=_distillable(model),
        text_length=model.text_length,
        invert=partial(sampling_lib.invert_images, model),
    )


def _distillable(model: Model) -> Distillable | None:
    """What students learn from: the network as it is, guided where a scale is given, without thresholding.

    None of models that need more than a label and a text: those of upstream stages, and those that inpaint.
    """
    if model.inpaint or (model.conditioner and model.conditioner.parents):
        return None
    smooth = sampling_lib.without_threshold(model)

    def denoiser(params, conditions) -> denoisers.Denoiser:
        cond = pieces.given(model, {}, conditions)
        return sampling_lib.make_denoiser(smooth, params, cond, conditions.get("guidance_scale"))

    return Distillable(
        schedule=model.schedule,
        init=lambda key, batch: pieces.init(model, key, batch)[0]["model"],
        params=lambda weights: weights.params["model"],
        denoiser=denoiser,
    )


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Weighted denoising loss of a batch, at times drawn for it."""
    key = inputs.key
    x0, cond = pieces.training_pair(model, inputs.frozen, inputs.batch, key)
    t, weight = model.times(rng.stream(key, "time"), x0.shape[0], inputs.extra)
    net = pieces.bind(model, params, pieces.encode(model, params, cond), rng.stream(key, "dropout"))
    values, metrics = _losses(model, net, x0, t, rng.stream(key, "noise"))
    extra = model.times.update(inputs.extra, t, values)
    return LossOutputs(
        {"loss": mean_of(weight * values)}, {name: mean_of(value) for name, value in metrics.items()}, extra
    )


def _losses(model: Model, net: denoisers.Net, x0: Image, t: PerExample, key: Key):
    """(loss of each example [b], its parts by name)."""
    return model.objective(net, model.parameterization, model.weighting, model.schedule, x0, t, key)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """The loss of each example at one time of its own; the times of a batch are spread evenly."""
    x0, params = batch["image"], weights.params["model"]
    t = time_samplers.even(model.schedule, rng.stream(key, "time"), present(batch))[0]
    conditions = sampling_lib.shrunk(model, batch) if model.low_res else batch
    cond = pieces.given(model, weights.frozen, conditions, rng.stream(key, "low_res"))
    if model.inpaint:
        cond = cond._replace(known=pieces.erased(model, x0, key))
    net = pieces.bind(model, params, pieces.encode(model, params, cond))
    values, metrics = _losses(model, net, x0, t, rng.stream(key, "noise"))
    return {"loss": values, **metrics}


def adopt(model: Model, fresh: Mapping[str, Params], other: Mapping[str, Params]) -> dict[str, Params]:
    """What a run that learns to inpaint takes of one that doesn't: all of it, and zeros for its new channels.

    So it starts out as the very same function of x_t (GLIDE, arXiv:2112.10741, section 2.5).
    """
    params = dict(other["model"])
    kernel, channels = params["conv_in"]["kernel"], model.spec.image_shape[-1]
    more = fresh["model"]["conv_in"]["kernel"].shape[2] - kernel.shape[2]
    if more:
        kernel = conditioning.widen_input(kernel, channels, pixels=more // (channels + 1))
        params["conv_in"] = {**params["conv_in"], "kernel": kernel}
    return {**other, "model": params}
