"""A cascade: a generator of low-resolution images, and super-resolution models that upsample them step by step.

    chain = load("runs/cascade_digits")                  # the folder of a chain, or its workdirs one by one
    sampling.draw(chain, 100)                            # as of a run

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
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import generate, stages
from genjax.core import images as images_lib
from genjax.core import rng
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Weights, generates
from genjax.pipelines.trained import Chain, find
from genjax.stages import Stage
from genjax.training.nesting import Nesting
from genjax.typing import Key

KIND = "cascade"
"""`config.sampling` of a chain that is sampled as a cascade; see `genjax.pipelines.chain`."""
SHARED = ("aug_level",)
"""Options that all super-resolution models take from who samples the cascade."""


def roles(names: Sequence[str]) -> dict[str, str]:
    """The role of each run of a cascade is its name."""
    return {name: name for name in names}


def load(
    folder: str | Path | Nesting | Sequence[str | Path],
    mesh: Mesh | None = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> Chain:
    """A cascade.

    Args:
        folder: of a chain (`genjax-pipeline`), or the workdirs, the base's first.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling`, of every stage that has such a field; "trajectory" of the last alone.

    Raises:
        ValueError: for a folder that isn't one, stages that don't fit together, or an override that none of them knows.
    """
    workdirs = find(folder, KIND, roles)
    return with_sampling(join({name: stages.load(one, mesh) for name, one in workdirs.items()}), sampling)


def with_sampling(chain: Chain, sampling: Mapping[str, Any]) -> Chain:
    """The cascade sampled in another way; its weights stay where they are.

    Args:
        chain: as `load` gives it.
        sampling: overrides of `config.sampling`, as those of `load`.

    Raises:
        ValueError: for an override that no stage knows.
    """
    known = {field for member in chain.members.values() for field in member.config.sampling}
    unknown = sorted(sampling.keys() - known)
    if unknown:
        raise ValueError(f"no stage of the cascade has config.sampling.{unknown[0]}, but {sorted(known)}")
    return join(override(chain.members, sampling))


def override(members: Mapping[str, Stage], sampling: Mapping[str, Any]) -> dict[str, Stage]:
    """Stages, by name, with overrides of those fields of `config.sampling` that they have; "trajectory" of the last."""
    changed, last = {}, list(members)[-1]
    for name, stage in members.items():
        wanted = {"trajectory": False, **sampling} if name == last else {**sampling, "trajectory": False}
        chosen = {field: value for field, value in wanted.items() if field in stage.config.sampling}
        changed[name] = stages.with_sampling(stage, chosen)
    return changed


def join(members: Mapping[str, Stage]) -> Chain:
    """Runs, by name and the base first, as one: its classes and options are the base's.

    Raises:
        ValueError: as `upsampled`.
    """
    interface = upsampled({name: member.interface for name, member in members.items()}, members)
    base = next(iter(members.values()))
    return Chain(members, interface, configure(KIND, interface, members, base.config.sampling.to_dict()))


def configure(
    kind: str, interface: ImageSampler, members: Mapping[str, Stage], sampling: Mapping[str, Any]
) -> ConfigDict:
    """The config of a chain: its last member's, but for the options of the whole, which are as in `sampling`."""
    config = ConfigDict(list(members.values())[-1].config.to_dict())
    config.family = kind
    for option in interface.options:
        if option not in SHARED and option in sampling:
            config.sampling[option] = sampling[option]
    return config


def upsampled(interfaces: Mapping[str, ImageSampler], members: Mapping[str, Stage]) -> ImageSampler:
    """What draws low-resolution images, and upsamples them step by step.

    Args:
        interfaces: by name, that of the base first.
        members: the runs by these names, for their configs and tokenizers.

    Raises:
        ValueError: as `check` and `check_texts`.
    """
    check(interfaces)
    check_texts({name: members[name] for name in interfaces})
    first, *rest = interfaces
    constants = {}
    for name in rest:
        values = generate.options(interfaces[name], members[name].config.sampling.to_dict(), {})
        constants[name] = {option: value for option, value in values.items() if option not in SHARED}
    options = dict(interfaces[first].options)
    if any("aug_level" in interfaces[name].options for name in rest):
        options["aug_level"] = 0.0

    def sample(weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        return draw_each(interfaces, constants, weights, conditions, index, key)[-1]

    shape, length = interfaces[[first, *rest][-1]].image_shape, max(one.text_length for one in interfaces.values())
    whole = ImageSampler(sample, shape, interfaces[first].num_classes, options, text_length=length)
    return whole._replace(optional=interfaces[first].optional)


def check_texts(members: Mapping[str, Stage]) -> None:
    """Refuses runs that make different tokens of a text.

    Raises:
        ValueError: naming those that read texts.
    """
    reading = {name: stage.tokenizer for name, stage in members.items() if stage.interface.text_length}
    if len({tokenizer.checksum for tokenizer in reading.values()}) > 1:
        raise ValueError(
            f"the stages {list(reading)} make different tokens of a text; train them with one config.data.tokenizer"
        )


def draw_each(
    interfaces: Mapping[str, ImageSampler],
    constants: Mapping[str, Mapping[str, float]],
    weights: Weights,
    conditions: Conditions,
    index: Index,
    key: Key,
) -> list[Samples]:
    """What every stage draws, the base first; images are on the 8-bit grid.

    Args:
        interfaces: of the stages, by name.
        constants: super-resolution stage -> option -> value, of those that aren't shared.
        weights: those of each stage are in `weights.frozen`, by name.
        conditions: of the base; the others take of them the label if they know classes, the tokens if they read texts,
            and the options that are shared.
        index: the number of each sample.
        key: the seed's.
    """
    drawn: list[Samples] = []
    for name, interface in interfaces.items():
        known = interface.options.keys() & (SHARED if drawn else interface.options)
        options = {option: value for option, value in conditions.options.items() if option in known}
        requested = conditions._replace(options=options)
        if drawn:
            requested = Conditions(
                label=conditions.label if interface.num_classes else None,
                tokens=conditions.tokens if interface.text_length else None,
                # The barrier keeps the compiler from fusing one stage into the next, which could change its last bits.
                low_res=jax.lax.optimization_barrier(drawn[-1].images),
                options={**constants[name], **options},
            )
        own_key = rng.stream(key, name) if drawn else key
        samples = interface.sample(weights.frozen[name], requested, index, own_key)
        drawn.append(samples._replace(images=images_lib.from_uint8(images_lib.to_uint8(samples.images))))
    return drawn


def check(interfaces: Mapping[str, ImageSampler]) -> None:
    """Refuses interfaces of stages, by name, that make no cascade.

    Raises:
        ValueError: if the base draws no images, or another one doesn't upsample what the one before it draws.
    """
    (first, base), *others = interfaces.items()
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
