"""What all families of diffusion models are made of: settings, the model, and its conditioning.

A family conditions its network, beside classes and low-resolution images, by a `Conditioner`:

    raw  = read(frozen, conditions)               tokens; states of a frozen text encoder; an embedding of CLIP
    raw  = drop(raw, key)                         in training: a share is dropped
    context = module(raw)                         a `Context`: tokens for attention, a vector for the embedding of time

The module is trained with the network, its parameters beside the network's own under the name "conditioner", as in
GLIDE's release. It runs once a step of training and once in sampling: what it makes of the texts, and of none for
guidance, is made before the first step.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.conditioning import inpainting, inputs
from genjax.conditioning import low_res as low_res_lib
from genjax.conditioning.inpainting import Inpaint
from genjax.conditioning.inputs import Cond
from genjax.conditioning.low_res import LowRes
from genjax.core import rng
from genjax.core.arguments import named
from genjax.diffusion import denoisers, grids, loss, parameterization, schedules, time_samplers, weighting
from genjax.families.interfaces import Conditions, Weights
from genjax.families.settings import expect_labels, read_settings
from genjax.families.shared.diffusion_settings import Sampling, Settings
from genjax.nn import denoising
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params, PerExample, PyTree, Tokens

EDITS = ("known", "mask", "source", "target", "weight", "latent")
"""The fields of `Conditions` by which images are edited."""


class Conditioner(NamedTuple):
    """What a family tells its network, beside classes and low-resolution images; see the module.

    Attributes:
        read: (weights of the upstream stages, conditions of a batch or of sampling) -> raw, a tree of arrays [b, ...].
        shapes: of raw for one example, a tree of `jax.ShapeDtypeStruct`.
        module: raw -> `Context`, trained with the network; None where raw is a `Context` itself.
        drop: (raw, key) -> raw of which a share is dropped, as in training.
        null: raw -> raw with everything dropped, for guidance; None of a model that was never trained without.
        text_length: tokens that sampling needs, 0 = none.
        options: scalars that `read` knows -> their neutral values, at which they are dropped.
        optional: other fields of `Conditions` than `tokens` that `read` takes in sampling.
        parents: names of the upstream stages that `read` needs.
    """

    read: Callable[[Mapping[str, Weights], Conditions], PyTree]
    shapes: PyTree
    module: nn.Module | None = None
    drop: Callable[[PyTree, Key], PyTree] = lambda raw, key: raw
    null: Callable[[PyTree], PyTree] | None = None
    text_length: int = 0
    options: Mapping[str, float] = MappingProxyType({})
    optional: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    spec: DataSpec
    network: Any
    schedule: schedules.Schedule
    parameterization: parameterization.Parameterizer
    times: time_samplers.TimeSampler
    variance: str
    objective: loss.Objective
    low_res: LowRes | None = None
    inpaint: Inpaint | None = None
    conditioner: Conditioner | None = None

    @property
    def num_classes(self) -> int:
        """Classes that condition the network; also the label of the null class."""
        return self.spec.num_classes if self.settings.conditional else 0

    @property
    def text_length(self) -> int:
        """Tokens that sampling needs, 0 = none."""
        return self.conditioner.text_length if self.conditioner else 0

    @property
    def options(self) -> dict[str, float]:
        """Scalars that sampling knows -> their neutral values, at which they are dropped."""
        aug_level = {"aug_level": 0.0} if self.low_res and self.low_res.max_aug_level else {}
        return {"guidance_scale": 1.0, **aug_level, **(self.conditioner.options if self.conditioner else {})}

    @property
    def optional(self) -> tuple[str, ...]:
        """The fields of `Conditions` that sampling takes beside those that it needs."""
        return (*(() if self.low_res else EDITS), *(self.conditioner.optional if self.conditioner else ()))

    @property
    def droppable(self) -> bool:
        """Whether the network was trained without its conditioning, too."""
        labels = bool(self.num_classes and self.settings.label_dropout)
        context = self.conditioner is not None and self.conditioner.null is not None
        return labels or context or bool(self.low_res and self.low_res.dropout)

    def levels(self) -> schedules.NoiseLevel:
        """The grid that sampling walks down."""
        return grids.make(self.schedule, self.sampling.num_steps)


def make(
    family: str, model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, conditioner: Conditioner | None
) -> Model:
    """The model for the settings of a config.

    Args:
        family: its name, for errors.
        model, sampling: fields of `Settings` and of `Sampling`.
        spec: shape and classes of the data.
        conditioner: of its conditioning.

    Raises:
        ValueError: for unknown names, a conditional model of unlabelled data, or settings that aren't possible.
    """
    settings = read_settings(Settings, model, f"config.model of the {family} family")
    requested = read_settings(Sampling, sampling, f"config.sampling of the {family} family")
    if settings.conditional:
        expect_labels(spec, "config.model.conditional=True")
    low_res = read_settings(LowRes, settings.low_res, "config.model.low_res") if settings.low_res else None
    if low_res:
        with named("config.model.low_res.", aug_level="config.sampling."):
            low_res_lib.check(low_res, spec.image_shape, requested.aug_level)
    inpaint = read_settings(Inpaint, settings.inpaint, "config.model.inpaint") if settings.inpaint else None
    if inpaint:
        named("config.model.inpaint.")(inpainting.check_inpaint)(inpaint)
    variance = requested.sampler.get("variance", "learned_range" if settings.learned_variance else "fixed_small")
    schedule = schedules.make(**settings.schedule)
    parameterizer, weigh = _parameterizer(settings, schedule), weighting.make(**settings.weighting)
    training = (parameterizer, weigh, schedule, settings.learned_variance, settings.vb_weight, variance)
    return Model(
        settings=settings,
        sampling=requested,
        spec=spec,
        network=denoising.make(
            out_channels=(1 + settings.learned_variance) * spec.image_shape[-1],
            num_classes=spec.num_classes if settings.conditional else 0,
            null_class=settings.label_dropout > 0,
            dtype=settings.dtype,
            **settings.network,
            **(low_res_lib.network_fields(low_res, spec.image_shape) if low_res else {}),
        ),
        schedule=schedule,
        parameterization=parameterizer,
        times=time_samplers.make(schedule=schedule, **settings.time_sampler),
        variance=variance,
        objective=loss.make(settings.objective, *training),
        low_res=low_res,
        inpaint=inpaint,
        conditioner=conditioner,
    )


def _parameterizer(settings: Settings, schedule: schedules.Schedule) -> parameterization.Parameterizer:
    """What the network predicts.

    Raises:
        ValueError: for a parameterization that an end of the schedule leaves undefined.
    """
    parameterizer = parameterization.make(**settings.parameterization)
    wrong = parameterization.failure(parameterizer, schedule)
    if wrong:
        other = parameterization.fitting(schedule)
        way_out = f"choose one of {other}" if other else "change the schedule's ends"
        if isinstance(schedule, schedules.Flow):
            way_out += ", or end the schedule before, config.model.schedule.t_max=0.999"
        raise ValueError(
            f"config.model.parameterization.name={settings.parameterization['name']!r} doesn't go with "
            f"config.model.schedule.name={settings.schedule['name']!r}: {wrong}; {way_out}"
        )
    return parameterizer


def training_pair(model: Model, frozen: Mapping[str, Weights], batch: Batch, key: Key) -> tuple[Image, Cond]:
    """(x0, its conditioning, not yet encoded), a share of which is dropped."""
    x0, cond = batch["image"], Cond()
    if model.low_res:
        x0, cond = low_res_lib.training_pair(model.low_res, x0, rng.stream(key, "low_res"))
    if model.inpaint:
        cond = cond._replace(known=erased(model, x0, key))
    if model.num_classes:
        cond = cond._replace(label=batch["label"])
    cond = drop(model, cond, jax.random.uniform(rng.stream(key, "label"), x0.shape[:1]))
    if model.conditioner:
        raw = model.conditioner.read(frozen, Conditions.of_batch(batch))
        cond = cond._replace(context=model.conditioner.drop(raw, rng.stream(key, "context")))
    return x0, cond


def erased(model: Model, x0: Image, key: Key) -> Float[Array, "b h w known"]:
    """What an inpainting model is shown of images in training."""
    return inpainting.known_channels(x0, inpainting.random_mask(model.inpaint, x0, rng.stream(key, "inpaint")))


def drop(model: Model, cond: Cond, chance: PerExample | float) -> Cond:
    """The null class and grey for a low-resolution image, where `chance` is less than their dropout."""
    dropout = model.low_res.dropout if model.low_res else 0.0
    return inputs.drop(cond, chance, model.num_classes, model.settings.label_dropout, dropout)


def null_conditioning(model: Model, cond: Cond) -> Cond:
    """The null conditioning: everything dropped that is ever dropped, for the unconditional half of guidance."""
    cond = drop(model, cond, 0.0)
    if model.conditioner and model.conditioner.null:
        cond = cond._replace(context=model.conditioner.null(cond.context))
    return cond


def conditioning_from(
    model: Model, frozen: Mapping[str, Weights], conditions: Conditions, key: Key | None = None
) -> Cond:
    """The conditioning of images to be sampled or evaluated, not yet encoded.

    Args:
        model: the pieces.
        frozen: weights of the upstream stages.
        conditions: of a batch, or of sampling.
        key: of the noise on low-resolution images, or keys [b].
    """
    cond = Cond()
    if model.low_res:
        aug_level, upsampled = conditions.options.get("aug_level"), named("config.model.low_res.")
        cond = upsampled(low_res_lib.conditioning_from)(
            model.low_res, model.spec.image_shape, conditions.low_res, aug_level, key
        )
    if model.inpaint and conditions.known is not None:
        cond = cond._replace(known=inpainting.known_channels(conditions.known, conditions.mask))
    if model.num_classes:
        cond = cond._replace(label=conditions.label)
    if model.conditioner:
        cond = cond._replace(context=model.conditioner.read(frozen, conditions))
    return cond


def encode(model: Model, params: Params, cond: Cond) -> Cond:
    """The conditioning, encoded by the conditioner's module: done once, before the network is called."""
    if model.conditioner is None or model.conditioner.module is None:
        return cond
    return cond._replace(context=model.conditioner.module.apply({"params": params["conditioner"]}, cond.context))


def init(model: Model, key: Key, batch: Batch) -> tuple[dict[str, Params], PyTree]:
    """Fresh parameters, and the history of the time sampler."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    label = jnp.zeros((1,), jnp.int32) if model.num_classes else None
    level = jnp.zeros((1,)) if "aug_level" in model.options else None
    known = inpainting.nothing_known(image) if model.inpaint else None
    cond, params = Cond(label, image if model.low_res else None, level, known), {}
    if model.conditioner:
        raw = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), model.conditioner.shapes)
        if model.conditioner.module is not None:
            params = {"conditioner": model.conditioner.module.init(rng.stream(key, "conditioner"), raw)["params"]}
        cond = encode(model, params, cond._replace(context=raw))
    inputs = denoising.inputs(image, jnp.zeros((1,)), cond)
    return {"model": {**model.network.init(key, *inputs)["params"], **params}}, model.times.init()


def bind(model: Model, params: Params, cond: Cond, dropout: Key | None = None) -> denoisers.Net:
    """The network as a function of (c_in * x_t, c_noise); dropout is on if a key for it is given.

    The conditioning has been encoded.
    """
    blind = model.inpaint and cond.known is None

    def net(x, c_noise):
        rngs = None if dropout is None else {"dropout": dropout}
        shown = cond._replace(known=inpainting.nothing_known(x)) if blind else cond
        inputs = denoising.inputs(x, c_noise, shown)
        return model.network.apply({"params": params}, *inputs, train=dropout is not None, rngs=rngs)

    return net


def check_tokens(tokens: Tokens | None, length: int) -> Tokens:
    """The tokens of texts.

    Raises:
        ValueError: if there are none, or not so many a text.
    """
    if tokens is None or tokens.shape[1] != length:
        found = "none" if tokens is None else f"{tokens.shape[1]}"
        raise ValueError(
            f"this model reads texts of {length} tokens, and was given {found}; train it on captions that are "
            "tokenized (config.data.tokenizer), and give prompts when sampling"
        )
    return tokens
