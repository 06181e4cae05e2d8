"""A family of diffusion models from its pieces: what `genjax.families.diffusion` and its sisters share.

One player minimises, for x_t = alpha x0 + sigma eps at a drawn time t,

    E_t,eps  w(t) | x0_hat(x_t, t, cond) - x0 |^2                       (DDPM, arXiv:2006.11239, eq. 14)

where schedule, parameterization, weighting and times come from `genjax.diffusion` by the names in the config. With
`learned_variance` the network also predicts the variance, trained by the variational term of L_hybrid (Improved DDPM,
arXiv:2102.09672); with the objective "variational", mean and variance are trained by that term alone, L_vlb. The
conditioning of the network, a share of which is dropped in training, is in `genjax.families.shared.diffusion_model`;
how it is drawn with, in `genjax.families.shared.diffusion_sampling`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from genjax.conditioning import inpainting
from genjax.conditioning import low_res as low_res_lib
from genjax.core import rng
from genjax.diffusion import denoisers, time_samplers
from genjax.families.base import Builder, Family, LossInputs, LossOutputs, Player
from genjax.families.interfaces import Distillable, Guidable, ImageSampler, SampleFn, Weights
from genjax.families.settings import expect_parents, split_settings
from genjax.families.shared import diffusion_model, diffusion_sampling
from genjax.families.shared.assembly import LogicalAxes
from genjax.families.shared.diffusion_model import Conditioner, Model
from genjax.families.terms import mean_of, present
from genjax.nn import denoising
from genjax.typing import Batch, DataSpec, Key, Params

LOSS_AWARE = "the chances of its times (config.model.time_sampler.name='loss_aware') move once a batch"


class NoSettings(NamedTuple):
    """The own fields of a family that has none."""


def builder(
    family: str,
    settings: type = NoSettings,
    *,
    conditioner: Callable[..., Conditioner] | None = None,
    logical_axes: LogicalAxes = (),
    **parents: type,
) -> Builder:
    """The `Builder` of a family of diffusion models.

    Args:
        family: its name.
        settings: the NamedTuple of its own fields of `config.model`, beside those of `diffusion_settings.Settings`.
        conditioner: (its own settings, spec, features of the network's embedding of time, dtype, **parents) -> what
            conditions it, beside classes and low-resolution images.
        logical_axes: of the conditioner's parameters.
        parents: name of an upstream stage -> the interface that it has to have.
    """

    def build(fields, sampling, spec, given) -> Family:
        found = expect_parents(given, parents, family)
        own: Any
        own, shared = split_settings(settings, fields, f"config.model of the {family} family")
        if conditioner is None:
            return assemble(family, shared, sampling, spec)
        dim, dtype = 4 * shared["network"]["width"], shared.get("dtype", "float32")
        return assemble(family, shared, sampling, spec, conditioner(own, spec, dim, dtype, **found), logical_axes)

    return build


def assemble(
    family: str,
    fields: Mapping[str, Any],
    sampling: Mapping[str, Any],
    spec: DataSpec,
    conditioner: Conditioner | None = None,
    logical_axes: LogicalAxes = (),
) -> Family:
    """The family for the settings of a config.

    Args:
        family: its name, for errors.
        fields: those of `diffusion_settings.Settings`.
        sampling: fields of `diffusion_settings.Sampling`.
        spec: shape and classes of the data.
        conditioner: of other conditioning than classes and low-resolution images.
        logical_axes: of the conditioner's parameters.

    Raises:
        ValueError: for unknown names, or settings that don't fit together.
    """
    model = diffusion_model.make(family, fields, sampling, spec, conditioner)
    model.levels()  # so that a wrong notation is an error before training, not after
    sample = diffusion_sampling.guided(model, ())
    coupled = LOSS_AWARE if model.settings.time_sampler["name"] == "loss_aware" else ""
    return Family(
        init=partial(diffusion_model.init, model),
        players=(Player("model", partial(loss_fn, model), batch_coupled=coupled),),
        evaluate=partial(evaluate, model),
        interface=_interface(model, sample),
        logical_axes=(*denoising.LOGICAL_AXES, *logical_axes),
        reconstruct=partial(diffusion_sampling.super_resolve, model) if model.low_res else None,
        adopt=partial(adopt, model) if model.inpaint else None,
    )


def _interface(model: Model, sample: SampleFn) -> ImageSampler:
    """What later stages see of it."""
    shape, takes = model.spec.image_shape, model.optional
    interface = ImageSampler(sample, shape, model.num_classes, model.options, text_length=model.text_length)
    if model.low_res:
        return interface._replace(low_res_shape=low_res_lib.check(model.low_res, shape), optional=takes)
    return interface._replace(
        guidable=Guidable(model.schedule, partial(diffusion_sampling.guided, model)),
        likelihoods={
            "bound": partial(diffusion_sampling.bound, model),
            "ode": partial(diffusion_sampling.ode_likelihood, model),
        },
        distillable=_distillable(model),
        invert=partial(diffusion_sampling.invert_images, model),
        optional=takes,
    )


def _distillable(model: Model) -> Distillable | None:
    """What students learn from: the network as it is, guided where a scale is given, without thresholding.

    None of models that need more than a label and a text: those of upstream stages, and those that inpaint.
    """
    if model.inpaint or (model.conditioner and model.conditioner.parents):
        return None
    smooth = diffusion_sampling.without_threshold(model)

    def denoiser(params, conditions) -> denoisers.Denoiser:
        cond = diffusion_model.conditioning_from(model, {}, conditions)
        return diffusion_sampling.make_denoiser(smooth, params, cond, conditions.options.get("guidance_scale"))

    return Distillable(
        schedule=model.schedule,
        init=lambda key, batch: diffusion_model.init(model, key, batch)[0]["model"],
        params=lambda weights: weights.params["model"],
        denoiser=denoiser,
    )


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Weighted denoising loss of a batch, at times drawn for it."""
    key = inputs.key
    x0, cond = diffusion_model.training_pair(model, inputs.frozen, inputs.batch, key)
    t, weight = model.times(rng.stream(key, "time"), x0.shape[0], inputs.extra)
    net = diffusion_model.bind(model, params, diffusion_model.encode(model, params, cond), rng.stream(key, "dropout"))
    found = model.objective(net, x0=x0, t=t, key=rng.stream(key, "noise"))
    extra = model.times.update(inputs.extra, t, found.loss)
    parts = {name: mean_of(part) for name, part in found.parts.items()}
    return LossOutputs({"loss": mean_of(weight * found.loss)}, parts, extra)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """The loss of each example at one time of its own; the times of a batch are spread evenly."""
    x0, params = batch["image"], weights.params["model"]
    t = time_samplers.even(model.schedule, rng.stream(key, "time"), present(batch))[0]
    conditions = diffusion_sampling.conditions_of(model, batch)
    cond = diffusion_model.conditioning_from(model, weights.frozen, conditions, rng.stream(key, "low_res"))
    if model.inpaint:
        cond = cond._replace(known=diffusion_model.erased(model, x0, key))
    net = diffusion_model.bind(model, params, diffusion_model.encode(model, params, cond))
    found = model.objective(net, x0=x0, t=t, key=rng.stream(key, "noise"))
    return {"loss": found.loss, **found.parts}


def adopt(model: Model, fresh: Mapping[str, Params], other: Mapping[str, Params]) -> dict[str, Params]:
    """What a run that learns to inpaint takes of one that doesn't: all of it, and zeros for its new channels.

    So it starts out as the very same function of x_t (GLIDE, arXiv:2112.10741, section 2.5).
    """
    params = dict(other["model"])
    kernel, channels = params["conv_in"]["kernel"], model.spec.image_shape[-1]
    more = fresh["model"]["conv_in"]["kernel"].shape[2] - kernel.shape[2]
    if more:
        kernel = inpainting.widen_input(kernel, channels, pixels=more // (channels + 1))
        params["conv_in"] = {**params["conv_in"], "kernel": kernel}
    return {**other, "model": params}
