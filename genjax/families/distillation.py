"""Students of a trained diffusion model that draw in a few steps: consistency models, progressive distillation, reflow.

The teacher is the parent "teacher", a run of the diffusion family, or of a student that can teach in turn. The student
is the same network, so it needs none of its own in the config, and its parameters have the same names. They are kept
as differences from the teacher's:

    theta = theta_teacher + params["model"],     params["model"] = 0 at first

so a fresh run starts at the teacher, wherever it lies, and the trainer needs to know nothing of it. To Adam it makes no
difference, nor to the moving average, of which the sampler takes teacher + average; weight decay would draw to the
teacher.

The objectives are those of `genjax.diffusion.distillation`, by name. Where one compares with a moving average of the
student ("consistency" with `target_decay` > 0), that is in `extra`, up to the parameters of the step before. With
`guidance_scale` the teacher is guided without a classifier, and the student learns the guided model with one evaluation
a step (arXiv:2210.03142, at a fixed scale).

Progressive distillation is one run a round: each round's teacher is the workdir of the round before, all on one `grid`.
Its learning rate can thus fall to 0 in each, as in the paper, and every number of steps stays there to be sampled.

Deviation: consistency training ("solver" "none") starts at a teacher too, though its loss doesn't need one.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core import tree as tree_lib
from genjax.diffusion import distillation, process, samplers, schedules, thresholding
from genjax.diffusion import sample as sample_lib
from genjax.diffusion.denoisers import Denoiser
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, Distillable, ImageSampler, Index, Samples, Weights
from genjax.families.shared.assembly import builder, one_player
from genjax.families.terms import mean_of
from genjax.nn import denoising
from genjax.typing import Batch, DataSpec, Key, Params, PerExample, PyTree


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        objective: "name", progressive, consistency or reflow, and arguments of the function of this name in
            `genjax.diffusion.distillation`.
        grid: of the teacher's steps, as `genjax.diffusion.grids.make` takes it.
        guidance_scale: of the teacher, without a classifier; 1 = none.
    """

    objective: Mapping[str, Any]
    grid: str | int
    guidance_scale: float = 1.0


class Sampling(NamedTuple):
    """`config.sampling`.

    Attributes:
        num_steps: of the student.
        clip: whether estimates of clean data are clipped to [-1, 1].
        trajectory: while training, also write the way from noise to image as a GIF.
        batch_size: images sampled at once, over all devices.
    """

    num_steps: str
    clip: bool = True
    trajectory: bool = False
    batch_size: int = 64


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use.

    Attributes:
        teacher: what the parent offers.
        num_classes: labels that condition teacher and student, 0 = none.
        spec: of the data.
        distillation: what is learned of the teacher.
        sampler, levels: how the student draws.
        guidance_scale: of the teacher.
        sampling: see `Sampling`.
    """

    teacher: Distillable
    num_classes: int
    spec: DataSpec
    distillation: distillation.Distillation
    sampler: samplers.Sampler
    levels: schedules.NoiseLevel
    guidance_scale: float
    sampling: Sampling

    def init(self, key: Key, batch: Batch) -> tuple[dict[str, Params], PyTree]:
        """No difference from the teacher, and the same for the moving average if there is one."""
        shapes = jax.eval_shape(self.teacher.init, key, batch)
        zeros = partial(jax.tree.map, lambda leaf: jnp.zeros(leaf.shape, leaf.dtype))
        return {"model": zeros(shapes)}, zeros(shapes) if self.distillation.target_decay else ()

    def _student_params(self, weights: Weights) -> Params:
        """The parameters of the student's network: the teacher's plus the difference."""
        return jax.tree.map(jnp.add, self.teacher.params(weights.frozen["teacher"]), weights.params["model"])

    def _seen(self, conditions: Conditions) -> Conditions:
        """The conditions that the networks see: the label, of conditional ones."""
        return Conditions(label=conditions.label if self.num_classes else None)

    def _losses(
        self, difference: Params, target: Params, frozen: Mapping[str, PyTree], batch: Batch, key: Key
    ) -> PerExample:
        """The loss of each example; `target` is the difference that makes the target."""
        start = self.teacher.params(frozen["teacher"])
        conditions = self._seen(Conditions.of_batch(batch))
        options = {"guidance_scale": self.guidance_scale} if self.guidance_scale != 1 else {}

        def student(difference: Params) -> Denoiser:
            return self.teacher.denoiser(jax.tree.map(jnp.add, start, difference), conditions)

        teacher = self.teacher.denoiser(start, conditions._replace(options=options))
        return self.distillation.loss(student(difference), student(target), teacher, batch["image"], key)

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean distillation loss of a batch."""
        decay = self.distillation.target_decay
        target = inputs.extra if decay else params
        values = self._losses(params, jax.lax.stop_gradient(target), inputs.frozen, inputs.batch, inputs.key)
        extra = tree_lib.lerp(inputs.extra, jax.lax.stop_gradient(params), 1 - decay) if decay else ()
        return LossOutputs({"loss": mean_of(values)}, {}, extra)

    def evaluate(self, weights: Weights, batch: Batch, key: Key) -> dict[str, PerExample]:
        """The distillation loss of each example, at a level of its own, against the student itself."""
        own = weights.params["model"]
        return {"loss": self._losses(own, own, weights.frozen, batch, rng.stream(key, "loss"))}

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Draw images (`SampleFn`)."""
        keys = rng.of_samples(key, index)
        denoise = self.teacher.denoiser(self._student_params(weights), self._seen(conditions))
        if self.distillation.estimate is not None:
            denoise = self.distillation.estimate(denoise)
        if self.sampling.clip:
            denoise = thresholding.static()(denoise)
        x_T = process.sample_prior(process.fold(keys, 0), (keys.shape[0], *self.spec.image_shape), self.levels)
        result = sample_lib.sample(
            denoise, self.sampler, self.levels, x_T, process.fold(keys, 1), trajectory=self.sampling.trajectory
        )
        images, path = result if self.sampling.trajectory else (result, None)
        return Samples(images, path and path.x_t)  # type: ignore[arg-type]  # no pair


@builder("distillation", Settings, Sampling, teacher=ImageSampler)
def build(settings: Settings, sampling: Sampling, spec: DataSpec, teacher: ImageSampler) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, a parent that can't teach or draws other images, or a number of steps that the
            grid doesn't have.
    """
    model = make_model(settings, sampling, spec, teacher)
    own = Distillable(model.teacher.schedule, model.teacher.init, model._student_params, model.teacher.denoiser)
    interface = ImageSampler(
        model.sample_images,
        spec.image_shape,
        model.num_classes,
        distillable=own if model.distillation.estimate is None else None,
    )
    coupled = "its target is a moving average that moves once a batch" if model.distillation.target_decay else ""
    return one_player(model, interface, denoising.LOGICAL_AXES, batch_coupled=coupled)


def make_model(settings: Settings, sampling: Sampling, spec: DataSpec, parent: ImageSampler) -> Model:
    """The model of these settings."""
    if parent.distillable is None:
        raise ValueError(
            "config.stages.teacher.workdir is the run of a model that can't teach: name one of the diffusion family, "
            "or a student of progressive distillation or reflow"
        )
    if tuple(parent.image_shape) != tuple(spec.image_shape):
        raise ValueError(
            f"the teacher draws images {tuple(parent.image_shape)}, config.data has {tuple(spec.image_shape)}; "
            "set config.data to the teacher's, or name another config.stages.teacher.workdir"
        )
    if parent.num_classes not in (0, spec.num_classes):
        raise ValueError(f"the teacher knows {parent.num_classes} classes, config.data has {spec.num_classes}")
    if not sampling.num_steps.isdecimal():
        raise ValueError(f"config.sampling.num_steps={sampling.num_steps!r} of a distilled model is no whole number")
    learned = distillation.make(schedule=parent.distillable.schedule, grid=settings.grid, **settings.objective)
    return Model(
        parent.distillable,
        parent.num_classes,
        spec,
        learned,
        *learned.walk(int(sampling.num_steps)),
        settings.guidance_scale,
        sampling,
    )
