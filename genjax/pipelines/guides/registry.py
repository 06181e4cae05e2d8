"""Guides by name: what guides the sampling of a trained diffusion model, and the stage that is sampled under them.

    stage = stages.load("runs/ddpm")
    stage = guide(stage, [make("classifier:runs/classifier:2.0", stage)])
    images.draw(stage, 100)

A guide is a function and its inputs. The function is fixed when sampling compiles; the inputs (another network's
weights, features of an image, the scale) travel in the stage's `weights.guides`, so they are arguments of the compiled
program, and other values of the same shapes don't compile it anew. Gradients of several guides add up.

A new kind of guide is one module with `make(argument, scale, stage) -> Guide` and `named(argument, scale) -> Named`,
the files and runs that it reads; it is named in `GUIDES`.
"""

import importlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from genjax.diffusion.schedules import Schedule
from genjax.families.interfaces import GuideFn
from genjax.pipelines.named_files import Named
from genjax.pipelines.trained import Trained
from genjax.stages import Stage
from genjax.typing import PyTree

GUIDES = {
    "classifier": "genjax.pipelines.guides.classifier",
    "clip": "genjax.pipelines.guides.clip",
    "features": "genjax.pipelines.guides.features",
    "image": "genjax.pipelines.guides.image",
    "style": "genjax.pipelines.guides.style",
    "text": "genjax.pipelines.guides.text",
}
USAGE = (
    f"NAME:ARGUMENT:SCALE, where NAME is one of {', '.join(GUIDES)} "
    "(classifier:WORKDIR:SCALE, clip:WORKDIR,TEXT:SCALE, features:WORKDIR,IMAGE:SCALE, image:IMAGE:SCALE, "
    "style:IMAGE:SCALE, text:WORKDIR,TEXT:SCALE)"
)


class Guide(NamedTuple):
    """Guidance of sampling from outside the model.

    Attributes:
        function: (inputs, conditions, mode) -> guide of denoisers.
        inputs: its arrays.
        num_classes: labels that it needs, 0 = none.
    """

    function: GuideFn
    inputs: PyTree
    num_classes: int = 0


def make(text: str, stage: Trained) -> Guide:
    """The guide that a command line requests.

    Args:
        text: "NAME:ARGUMENT:SCALE"; the argument may have colons itself.
        stage: what it will guide.

    Raises:
        ValueError: for another form, an unknown name, a scale that is no number, or a guide that doesn't fit the stage.
    """
    name, argument, strength = _read(text)
    return importlib.import_module(GUIDES[name]).make(argument, strength, expect_guidable(stage))


def named(text: str) -> Named:
    """The files and runs that a guide reads, for a check before the model is loaded.

    Raises:
        ValueError: for another form than `make` takes, an unknown name, or a scale that is no number.
    """
    name, argument, strength = _read(text)
    return importlib.import_module(GUIDES[name]).named(argument, strength)


def _read(text: str) -> tuple[str, str, float]:
    """(name, argument, scale) of a guide's text."""
    name, _, rest = text.partition(":")
    argument, _, scale = rest.rpartition(":")
    if name not in GUIDES or not argument:
        raise ValueError(f"--guide={text} can't be read; write {USAGE}")
    try:
        strength = float(scale)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise ValueError(f"--guide={text}: the scale {scale!r} is no number; write {USAGE}")
    return name, argument, strength


def guide(stage: Trained, guides: Sequence[Guide]) -> Trained:
    """The stage, sampled under guides. An unconditional model takes the labels that its guides need.

    Raises:
        ValueError: for a stage that is no diffusion model, or that is guided already.
    """
    if not guides:
        return stage
    stage = expect_guidable(stage)
    if stage.weights.guides:
        raise ValueError("this stage is guided already; give all guides at once")
    interface = stage.interface
    sample = interface.guidable.guided(tuple(one.function for one in guides))
    classes = max(interface.num_classes, *(one.num_classes for one in guides))
    guided_interface = interface._replace(sample=sample, num_classes=classes, guidable=None)
    return stage._replace(
        family=stage.family._replace(interface=guided_interface),
        weights=stage.weights._replace(guides=tuple(one.inputs for one in guides)),
    )


def expect_guidable(trained: Trained) -> Stage:
    """A run whose sampling has noise to be guided through.

    Raises:
        ValueError: for a chain, and any run but a diffusion model's.
    """
    if isinstance(trained, Stage) and trained.interface.guidable is not None:
        return trained
    raise ValueError(f"a run of the family {trained.config.family!r} can't be guided; only diffusion models can")


def check_noise(name: str, guiding: Stage, schedule: Schedule, stage: Stage) -> None:
    """Refuses a network of noisy images that knows other noise than the model's.

    Args:
        name: what errors call the network.
        guiding: its run.
        schedule: the noising process that it was trained on.
        stage: the diffusion model to guide.

    Raises:
        ValueError: if the processes differ in kind or in a value, however their configs write them.
    """
    ours = stage.interface.guidable.schedule
    same = jax.tree.structure(schedule) == jax.tree.structure(ours)  # type: ignore[operator]  # jax doesn't say it
    pairs = zip(jax.tree.leaves(schedule), jax.tree.leaves(ours))
    if not (same and all(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)):
        settings = [dict(one.config.model.schedule) for one in (guiding, stage)]
        raise ValueError(
            f"{name} was trained on another noising process, {settings[0]}, than the model, {settings[1]}; train one "
            "with the model's config.model.schedule"
        )
