"""DALL-E 2 as one stage: a prior from the caption to a CLIP embedding, a decoder to an image, and upsamplers
(unCLIP, arXiv:2204.06125).

    stage = load("runs/dalle2_shapes")                   # the folder of a chain, or its workdirs one by one
    images.draw(stage, 8, prompts=["a red circle"])      # as of any stage

    z_i = prior(caption)      x_1 = decoder(z_i, caption)      x_k = upsampler_k(x_(k-1))

All of it is one compiled program. Any prior will do, by diffusion or autoregressive, and stages can be swapped as those
of a cascade (`genjax.pipelines.cascade`): the prior draws with the seed's stream "prior", the decoder with the seed
itself, so another prior leaves the decoder's noise as it was. An "image_embed" [b, d] among the conditions takes the
place of the prior's (`genjax.pipelines.dalle2_editing`).

The scale of guidance is the decoder's; that of the prior is the option "prior_guidance_scale". Its other options go by
their own names. Prior and decoder have to be built on one CLIP, whose weights are held once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import stages
from genjax.core import rng
from genjax.families.interfaces import (
    Conditions,
    ImageSampler,
    ImageTextEncoder,
    Samples,
    Weights,
    generates,
)
from genjax.pipelines import cascade
from genjax.stages import Stage
from genjax.training import places, workdir
from genjax.typing import Key

KIND = "dalle2"
"""`config.sampling` of a chain that is sampled like this; see `genjax.pipelines.chain`."""
PRIOR, DECODER, CLIP = "prior", "decoder", "clip"
RENAMED = {"guidance_scale": "prior_guidance_scale"}
"""Options of a prior that would be the decoder's by their own names."""


class Parts(NamedTuple):
    """What edits need of a stage that decodes CLIP embeddings, with or without a prior and upsamplers."""

    clip: ImageTextEncoder
    decoder: ImageSampler
    weights: Weights

    @property
    def clip_weights(self) -> Weights:
        """The weights of the CLIP."""
        return self.weights.frozen[CLIP]


def is_dalle2(folder: str | Path) -> bool:
    """Whether a folder is that of a chain which is sampled like this."""
    return workdir.read_pipeline(Path(folder)).get("sampling") == KIND


def load(
    folder: str | Path | Sequence[str | Path],
    mesh: Mesh | None = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> Stage:
    """Prior, decoder and upsamplers as one stage.

    Args:
        folder: of a chain (`genjax-pipeline`), or the workdirs, in this order.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling` of the decoder and of upsamplers that have such a field.

    Raises:
        ValueError: for a folder that isn't one, or stages that don't fit together.
    """
    if isinstance(folder, (str, Path)):
        if not is_dalle2(folder):
            raise ValueError(f"{folder} is not the folder of a DALL-E 2; train one with genjax-pipeline")
        pipeline = workdir.read_pipeline(Path(folder))
        folder = [places.member(Path(folder), name) for name in pipeline["cascade"]]
    if len(folder) < 2:
        raise ValueError(f"a DALL-E 2 is made of a prior, a decoder and perhaps upsamplers, not of {len(folder)} runs")
    prior, decoder, *rest = (Path(one) for one in folder)
    upsamplers = {one.name: stages.load(one, mesh) for one in rest}
    return with_sampling(join(stages.load(prior, mesh), stages.load(decoder, mesh), upsamplers), sampling)


def with_sampling(stage: Stage, sampling: Mapping[str, Any]) -> Stage:
    """The whole sampled in another way; its weights stay where they are.

    Args:
        stage: as `load` gives it.
        sampling: overrides of `config.sampling`, as those of `load`.

    Raises:
        ValueError: for settings that a family refuses.
    """
    rest = cascade.override({name: one for name, one in stage.members.items() if name != PRIOR}, sampling)
    return join(stage.members[PRIOR], rest.pop(DECODER), rest)


def join(prior: Stage, decoder: Stage, upsamplers: Mapping[str, Stage] = MappingProxyType({})) -> Stage:
    """A prior, a decoder and upsamplers, by name, as one stage.

    Raises:
        ValueError: if they don't fit together.
    """
    base, members = _join_prior(prior, decoder), {PRIOR: prior, DECODER: decoder, **upsamplers}
    if not upsamplers:
        return base._replace(members=members)
    joined = cascade.join({DECODER: base, **upsamplers})
    config = ConfigDict(joined.config.to_dict())
    config.family = KIND
    return joined._replace(config=config, parents=base.parents, members=members)


def _join_prior(prior: Stage, decoder: Stage) -> Stage:
    """A prior and a decoder as one stage, whose data, metrics and batches are the decoder's."""
    check(prior, decoder)
    draws, decodes = prior.family.interface, decoder.family.interface
    renamed = {name: RENAMED.get(name, name) for name in draws.options}
    options = {renamed[name]: neutral for name, neutral in draws.options.items()}

    def sample(weights: Weights, conditions: Conditions, key: Key) -> Samples:
        given = {name: value for name, value in conditions.items() if name not in options}
        if "image_embed" not in given:
            requested = {"index": conditions["index"], "tokens": conditions["tokens"]}
            requested |= {name: conditions[ours] for name, ours in renamed.items() if ours in conditions}
            given["image_embed"] = draws.sample_embeddings(weights.frozen[PRIOR], requested, rng.stream(key, PRIOR))
        return decodes.sample(weights.frozen[DECODER], given, key)

    def evaluate(weights, batch, key):
        return decoder.family.evaluate(weights.frozen[DECODER], batch, key)

    config = ConfigDict(decoder.config.to_dict())
    config.family = KIND
    for name, ours in renamed.items():
        if name in prior.config.sampling:
            config.sampling[ours] = prior.config.sampling[name]
    interface = ImageSampler(
        sample, decodes.image_shape, 0, {**decodes.options, **options}, text_length=decodes.text_length
    )
    family = decoder.family._replace(players=(), evaluate=evaluate, interface=interface)
    shared = prior.weights._replace(frozen={**prior.weights.frozen, CLIP: decoder.weights.frozen[CLIP]})
    return decoder._replace(
        family=family,
        weights=Weights({}, (), {PRIOR: shared, DECODER: decoder.weights}),
        config=config,
        checksum=(prior.checksum + decoder.checksum) % 2**32,
        parents={CLIP: decoder.parents[CLIP], PRIOR: draws, DECODER: decodes},
    )


def check(prior: Stage, decoder: Stage) -> None:
    """Refuses a prior and a decoder that make no chain.

    Raises:
        ValueError: if they are something else, or built on different CLIPs.
    """
    if prior.family.interface.sample_embeddings is None:
        raise ValueError(
            f"the first stage of a DALL-E 2 has to draw CLIP embeddings, and a run of the family "
            f"{prior.config.family!r} doesn't; name a prior, such as that of configs/dalle2_prior.py"
        )
    if decoder.family.interface.sample is None or CLIP not in decoder.parents:
        raise ValueError(
            f"the second stage of a DALL-E 2 has to draw images for CLIP embeddings, and a run of the family "
            f"{decoder.config.family!r} doesn't; name a decoder, such as that of configs/dalle2_decoder64.py"
        )
    held = [jax.tree.leaves(stage.weights.frozen[CLIP]) for stage in (prior, decoder)]
    shapes = [[leaf.shape for leaf in leaves] for leaves in held]
    if shapes[0] != shapes[1] or not all(bool(jnp.array_equal(*pair)) for pair in zip(*held, strict=True)):
        raise ValueError(
            "the prior and the decoder are built on different CLIPs, so the embeddings of one mean nothing to the "
            "other; train both with the same config.stages.clip.workdir"
        )


def parts(stage: Stage) -> Parts:
    """What edits need of a stage.

    Raises:
        ValueError: for a stage that doesn't decode CLIP embeddings.
    """
    interface = stage.family.interface
    if DECODER in stage.parents:
        weights = stage.weights.frozen[DECODER]
        weights = weights.frozen.get(DECODER, weights)
        return Parts(stage.parents[CLIP], stage.parents[DECODER], weights)
    if CLIP in stage.parents and generates(interface):
        return Parts(stage.parents[CLIP], interface, stage.weights)
    raise ValueError(
        f"a run of the family {stage.config.family!r} decodes no CLIP embeddings; name a DALL-E 2's folder or a decoder"
    )
