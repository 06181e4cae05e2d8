"""A cascade as one stage: a generator of low-resolution images, and super-resolution models that upsample them step
by step.

    stage = load("runs/cascade_digits")                  # the folder of a chain, or its workdirs one by one
    images.draw(stage, 100)                              # as of any stage

    x_1 = base(labels)      x_k = super_resolver_k(round(x_{k-1}))      (CDM, arXiv:2106.15282; GLIDE; Imagen)

All of it is one compiled program. Between two stages images are rounded to the 8-bit grid, as GLIDE's release does:
each stage gets what a file of the one before would give it.

The base draws with the seed itself, as it does alone; a super-resolution model with the seed's stream of its own name.
So another one in its place leaves all images before it as they were, bit by bit. The scale of guidance goes to the
base alone (ADM guides only the low resolution, arXiv:2105.05233, section 4.4); the others take their config's. The
level of noise between the stages, "aug_level", is one for all of them: unless requested, that of the last one's config.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import generate, stages
from genjax.core import images as images_lib
from genjax.core import rng
from genjax.data.tokenizers import TextTokenizer
from genjax.families.interfaces import Conditions, ImageSampler, Samples, Weights, generates
from genjax.stages import Stage
from genjax.training import places, workdir
from genjax.typing import Key

KIND = "cascade"
"""`config.sampling` of a chain that is sampled as a cascade; see `genjax.pipelines.chain`."""
SHARED = ("aug_level",)
"""Options that all super-resolution models take from who samples the cascade."""


def is_cascade(folder: str | Path) -> bool:
    """Whether a folder is that of a chain which is sampled as a cascade."""
    return workdir.read_pipeline(Path(folder)).get("sampling") == KIND


def load(
    folder: str | Path | Sequence[str | Path],
    mesh: Mesh | None = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> Stage:
    """A cascade as one stage.

    Args:
        folder: of a chain (`genjax-pipeline`), or the workdirs, the base's first.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling`, of every stage that has such a field; "trajectory" of the last alone.

    Raises:
        ValueError: for a folder that isn't one, stages that don't fit together, or an override that none of them knows.
    """
    if isinstance(folder, (str, Path)):
        if not is_cascade(folder):
            raise ValueError(f"{folder} is not the folder of a cascade; train one with genjax-pipeline")
        pipeline = workdir.read_pipeline(Path(folder))
        names = pipeline.get("cascade") or pipeline["stages"]
        folder = [places.member(Path(folder), name) for name in names]
    folders = {Path(one).name: Path(one) for one in folder}
    if not folders or len(folders) < len(folder):
        raise ValueError(f"the workdirs of a cascade need names of their own, not {[str(one) for one in folder]}")
    return with_sampling(join({name: stages.load(one, mesh) for name, one in folders.items()}), sampling)


def with_sampling(stage: Stage, sampling: Mapping[str, Any]) -> Stage:
    """The cascade sampled in another way; its weights stay where they are.

    Args:
        stage: as `load` gives it.
        sampling: overrides of `config.sampling`, as those of `load`.

    Raises:
        ValueError: for an override that no stage knows.
    """
    known = {field for member in stage.members.values() for field in member.config.sampling}
    unknown = sorted(sampling.keys() - known)
    if unknown:
        raise ValueError(f"no stage of the cascade has config.sampling.{unknown[0]}, but {sorted(known)}")
    return join(override(stage.members, sampling))


def override(members: Mapping[str, Stage], sampling: Mapping[str, Any]) -> dict[str, Stage]:
    """Stages, by name, with overrides of those fields of `config.sampling` that they have; "trajectory" of the last."""
    changed, last = {}, list(members)[-1]
    for name, stage in members.items():
        wanted = {"trajectory": False, **sampling} if name == last else {**sampling, "trajectory": False}
        chosen = {field: value for field, value in wanted.items() if field in stage.config.sampling}
        changed[name] = stages.with_sampling(stage, chosen)
    return changed


def join(members: Mapping[str, Stage]) -> Stage:
    """Stages, by name and the base first, as one.

    Its data, its held-out metrics and its batches are the last stage's; its classes and options the base's. Every stage
    that needs a text gets the same one.

    Raises:
        ValueError: if the base draws no images, or another one doesn't upsample what the one before it draws, or if
            they make different tokens of a text.
    """
    check(members)
    tokenizer = text_tokenizer(members)
    names, interfaces = list(members), {name: stage.family.interface for name, stage in members.items()}
    base, last = members[names[0]], members[names[-1]]
    constants = {
        name: {
            option: value
            for option, value in generate.options(interfaces[name], stage.config.sampling.to_dict(), {}).items()
            if option not in SHARED
        }
        for name, stage in list(members.items())[1:]
    }
    options = dict(interfaces[names[0]].options)
    if any("aug_level" in interfaces[name].options for name in names[1:]):
        options["aug_level"] = 0.0

    def sample(weights: Weights, conditions: Conditions, key: Key) -> Samples:
        return draw_each(interfaces, constants, weights, conditions, key)[-1]

    def evaluate(weights, batch, key):
        return last.family.evaluate(weights.frozen[names[-1]], batch, key)

    config = ConfigDict(last.config.to_dict())
    config.family = KIND
    for option in options:
        source = last if option in SHARED else base
        if option in source.config.sampling:
            config.sampling[option] = source.config.sampling[option]
    classes, text_length = interfaces[names[0]].num_classes, tokenizer.length if tokenizer else 0
    interface = ImageSampler(sample, last.spec.image_shape, classes, options, text_length=text_length)
    family = last.family._replace(players=(), evaluate=evaluate, interface=interface, reconstruct=None)
    weights = Weights({}, (), {name: stage.weights for name, stage in members.items()})
    checksum = sum(stage.checksum for stage in members.values()) % 2**32
    return last._replace(
        family=family, weights=weights, config=config, checksum=checksum, tokenizer=tokenizer, members=members
    )


def text_tokenizer(members: Mapping[str, Stage]) -> TextTokenizer | None:
    """What makes tokens of a text for all stages that need one; None where none does.

    Raises:
        ValueError: if they make different tokens of it.
    """
    reading = {name: stage.tokenizer for name, stage in members.items() if stage.family.interface.text_length}
    if len({tokenizer.checksum for tokenizer in reading.values()}) > 1:
        raise ValueError(
            f"the stages {list(reading)} make different tokens of a text; train them with one config.data.tokenizer"
        )
    return next(iter(reading.values()), None)


def draw_each(
    interfaces: Mapping[str, ImageSampler],
    constants: Mapping[str, Mapping[str, float]],
    weights: Weights,
    conditions: Conditions,
    key: Key,
) -> list[Samples]:
    """What every stage draws, the base first; images are on the 8-bit grid.

    Args:
        interfaces: of the stages, by name.
        constants: super-resolution stage -> option -> value, of those that aren't shared.
        weights: those of each stage are in `weights.frozen`, by name.
        conditions: as those of a stage: "index" [b], "label" [b] if there are classes, "tokens" [b, s] if there are
            texts, scalars. The base is given all other arrays, too.
        key: the seed's.
    """
    drawn: list[Samples] = []
    each = {name: value for name, value in conditions.items() if jnp.ndim(value)}
    for name, interface in interfaces.items():
        requested: dict[str, Any] = {"index": conditions["index"]}
        requested |= {"label": conditions["label"]} if interface.num_classes else {}
        requested |= {"tokens": conditions["tokens"]} if interface.text_length else {}
        scalars = SHARED if drawn else tuple(interface.options)
        requested |= {
            option: conditions[option] for option in scalars if option in interface.options and option in conditions
        }
        if not drawn:
            requested |= each
        else:
            # The barrier keeps the compiler from fusing one stage into the next, which could change its last bits.
            requested |= {**constants[name], "low_res": jax.lax.optimization_barrier(drawn[-1].images)}
        samples = interface.sample(weights.frozen[name], requested, rng.stream(key, name) if drawn else key)
        drawn.append(samples._replace(images=images_lib.from_uint8(images_lib.to_uint8(samples.images))))
    return drawn


def check(members: Mapping[str, Stage]) -> None:
    """Refuses stages that make no cascade.

    Raises:
        ValueError: if the base draws no images, or another one doesn't upsample what the one before it draws.
    """
    (first, base), *others = [(name, stage.family.interface) for name, stage in members.items()]
    if not generates(base):
        raise ValueError(f"the first stage of a cascade has to draw images, and {first} doesn't")
    before, shape = first, tuple(base.image_shape)
    for name, interface in others:
        if interface.low_res_shape is None:
            raise ValueError(
                f"the stages of a cascade after the first have to upsample images, and {name} doesn't; train it with "
                "config.model.low_res"
            )
        if tuple(interface.low_res_shape) != shape:
            raise ValueError(
                f"{name} upsamples images of {tuple(interface.low_res_shape)}, and {before} draws {shape}; "
                f"set config.model.low_res.size of {name} to {shape[0]}"
            )
        if interface.num_classes not in (0, base.num_classes):
            raise ValueError(f"{name} needs {interface.num_classes} classes, and {first} {base.num_classes}")
        before, shape = name, tuple(interface.image_shape)
