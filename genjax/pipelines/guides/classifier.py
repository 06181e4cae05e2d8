"""Guidance by a trained classifier of noisy images (ADM, arXiv:2105.05233, algorithms 1 and 2).

    --guide=classifier:WORKDIR:SCALE      g = SCALE * d/dx_t log p(y | x_t, t)

The label y is the one that is requested (`--label`, by default all classes in turn). The ancestral sampler shifts its
mean by Sigma g, all others their score: `genjax.diffusion.guidance.classifier`. With the published models on ImageNet
the scales are 1.0, 0.5, 1.0 and 4.0 at 64, 128, 256 and 512 pixels for 250 ancestral steps on conditional models, 10.0
for an unconditional one, and 1.25, 2.5 and 9.0 at 128 to 512 pixels for 25 steps of DDIM.

By the score, x0 moves by sigma^2 / alpha times g and isn't clipped again. At the last step of a cosine schedule alpha
is 5e-5, and any gradient there throws x0 out of all bounds: use ddim with "ddim25", which begins at step 960, or the
ancestral sampler. (On the digits, dpmpp_2m with "25" gives noise that the classifier takes for the right class.)
"""

import jax.numpy as jnp

from genjax import stages
from genjax.diffusion import denoisers, guidance
from genjax.families.interfaces import Conditions, Weights
from genjax.pipelines.guides import registry
from genjax.pipelines.named_files import Named
from genjax.stages import Stage
from genjax.typing import Array


def make(folder: str, scale: float, stage: Stage) -> registry.Guide:
    """The guide by the classifier trained in `folder`.

    Args:
        folder: its workdir.
        scale: of the gradient; 0 = none.
        stage: the diffusion model to guide.

    Raises:
        ValueError: if the folder holds no classifier, or one of other images, classes or noise than the stage's.
    """
    return from_stage(stages.load(folder), scale, stage, folder)


def named(folder: str, scale: float) -> Named:
    """The classifier's workdir."""
    return Named(runs=(folder,))


def from_stage(classifier: Stage, scale: float, stage: Stage, name: str = "the classifier") -> registry.Guide:
    """The guide by a loaded classifier; `name` is what errors call it. Else as `make`."""
    registry.expect_guidable(stage)
    interface = classifier.interface
    if interface.log_prob is None:
        raise ValueError(
            f"{name} is a run of the family {classifier.config.family!r}; --guide=classifier needs the workdir of a "
            "noisy_classifier, such as configs/classifier_digits.py trains"
        )
    _check_fit(classifier, stage, name)

    def guide(inputs: tuple[Weights, Array], conditions: Conditions, mode: str) -> denoisers.Guide:
        weights, strength = inputs
        return guidance.classifier(
            lambda x_t, level: interface.log_prob(weights, x_t, level.t, conditions.label), strength, mode
        )

    return registry.Guide(guide, (classifier.weights, jnp.float32(scale)), interface.num_classes)


def _check_fit(classifier: Stage, stage: Stage, name: str) -> None:
    theirs, ours = classifier.interface, stage.interface
    if theirs.image_shape != ours.image_shape:
        raise ValueError(
            f"{name} classifies images of {theirs.image_shape} (height, width, channels), and the model draws "
            f"{ours.image_shape}; train a classifier with the model's config.data"
        )
    if ours.num_classes and (theirs.num_classes, classifier.spec.class_names) != (
        ours.num_classes,
        stage.spec.class_names,
    ):
        raise ValueError(
            f"{name} knows {theirs.num_classes} classes of {classifier.config.data.name!r}, and the model "
            f"{ours.num_classes} of {stage.config.data.name!r}; they must be the same"
        )
    registry.check_noise(name, classifier, theirs.schedule, stage)
