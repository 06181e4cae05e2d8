"""DALL-E 2: a prior from the caption to a CLIP embedding, a decoder to an image, and upsamplers
(unCLIP, arXiv:2204.06125).

    chain = load("runs/dalle2_shapes")                     # the folder of a chain, or its workdirs one by one
    sampling.draw(chain, 8, prompts=["a red circle"])      # as of a run

    z_i = prior(caption)      x_1 = decoder(z_i, caption)      x_k = upsampler_k(x_(k-1))

All of it is one compiled program. Any prior will do, by diffusion or autoregressive, and stages can be swapped as those
of a cascade (`genjax.pipelines.cascade`): the prior draws with the seed's stream "prior", the decoder with the seed
itself, so another prior leaves the decoder's noise as it was. An `image_embed` among the conditions takes the
place of the prior's (`genjax.pipelines.dalle2_editing`).

The scale of guidance is the decoder's; that of the prior is the option "prior_guidance_scale". Its other options go by
their own names. Prior and decoder have to be built on one CLIP, whose weights are held once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from genjax import stages
from genjax.core import rng
from genjax.families.interfaces import (
    Conditions,
    EmbeddingSampler,
    ImageSampler,
    Index,
    Samples,
    Weights,
    generates,
)
from genjax.pipelines import cascade
from genjax.pipelines.trained import Chain, Trained, find
from genjax.stages import Stage
from genjax.training.nesting import Nesting
from genjax.typing import Key

KIND = "dalle2"
"""`config.sampling` of a chain that is sampled like this; see `genjax.pipelines.chain`."""
PRIOR, DECODER, CLIP = "prior", "decoder", "clip"
RENAMED = {"guidance_scale": "prior_guidance_scale"}
"""Options of a prior that would be the decoder's by their own names."""


def roles(names: Sequence[str]) -> dict[str, str]:
    """The role of each run of a DALL-E 2: the prior, the decoder, then upsamplers by their names.

    Raises:
        ValueError: for fewer than two.
    """
    if len(names) < 2:
        raise ValueError(f"a DALL-E 2 is made of a prior, a decoder and perhaps upsamplers, not of {len(names)} runs")
    return {PRIOR: names[0], DECODER: names[1], **{name: name for name in names[2:]}}


def load(
    folder: str | Path | Nesting | Sequence[str | Path],
    mesh: Mesh | None = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> Chain:
    """Prior, decoder and upsamplers as one.

    Args:
        folder: of a chain (`genjax-pipeline`), or the workdirs, in this order.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling` of the decoder and of upsamplers that have such a field.

    Raises:
        ValueError: for a folder that isn't one, or stages that don't fit together.
    """
    members = {role: stages.load(one, mesh) for role, one in find(folder, KIND, roles).items()}
    return with_sampling(join(members.pop(PRIOR), members.pop(DECODER), members), sampling)


def with_sampling(chain: Chain, sampling: Mapping[str, Any]) -> Chain:
    """The whole sampled in another way; its weights stay where they are.

    Args:
        chain: as `load` gives it.
        sampling: overrides of `config.sampling`, as those of `load`.

    Raises:
        ValueError: for settings that a family refuses.
    """
    rest = cascade.override({name: one for name, one in chain.members.items() if name != PRIOR}, sampling)
    return join(chain.members[PRIOR], rest.pop(DECODER), rest)


def join(prior: Stage, decoder: Stage, upsamplers: Mapping[str, Stage] = MappingProxyType({})) -> Chain:
    """A prior, a decoder and upsamplers, by name, as one.

    Raises:
        ValueError: if they don't fit together.
    """
    check(prior, decoder)
    shared = {**prior.weights.frozen, CLIP: decoder.weights.frozen[CLIP]}
    prior = prior._replace(weights=prior.weights._replace(frozen=shared))
    members = {PRIOR: prior, DECODER: decoder, **upsamplers}
    renamed = {name: RENAMED.get(name, name) for name in prior.interface.options}
    interface = base = _with_prior(prior.interface, decoder.interface, renamed)
    if upsamplers:
        larger = {name: member.interface for name, member in upsamplers.items()}
        whole = cascade.upsampled({DECODER: base, **larger}, members)

        def sample(weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
            return whole.sample(weights._replace(frozen={**weights.frozen, DECODER: weights}), conditions, index, key)

        interface = whole._replace(sample=sample)
    theirs = prior.config.sampling.to_dict()
    sampling = {
        **decoder.config.sampling.to_dict(),
        **{ours: theirs[name] for name, ours in renamed.items() if name in theirs},
    }
    return Chain(members, interface, cascade.configure(KIND, interface, members, sampling))


def _with_prior(draws: EmbeddingSampler, decodes: ImageSampler, renamed: Mapping[str, str]) -> ImageSampler:
    """What decodes the embeddings that a prior draws, with the weights of both by role; options by their new names."""
    options = {renamed[name]: neutral for name, neutral in draws.options.items()}

    def sample(weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        scalars = conditions.options
        if conditions.image_embed is None:
            own = {name: scalars[ours] for name, ours in renamed.items() if ours in scalars}
            requested, stream = Conditions(tokens=conditions.tokens, options=own), rng.stream(key, PRIOR)
            embed = draws.sample_embeddings(weights.frozen[PRIOR], requested, index, stream)
            conditions = conditions._replace(image_embed=embed)
        left = {name: value for name, value in scalars.items() if name not in options}
        return decodes.sample(weights.frozen[DECODER], conditions._replace(options=left), index, key)

    whole = ImageSampler(sample, decodes.image_shape, 0, {**decodes.options, **options})
    return whole._replace(text_length=decodes.text_length, optional=decodes.optional)


def check(prior: Stage, decoder: Stage) -> None:
    """Refuses a prior and a decoder that make no chain.

    Raises:
        ValueError: if they are something else, or built on different CLIPs.
    """
    if prior.interface.sample_embeddings is None:
        raise ValueError(
            f"the first stage of a DALL-E 2 has to draw CLIP embeddings, and a run of the family "
            f"{prior.config.family!r} doesn't; name a prior, such as that of configs/dalle2_prior.py"
        )
    if decoder.interface.sample is None or CLIP not in decoder.parents:
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


def decoder_of(trained: Trained) -> Stage:
    """The decoder of a DALL-E 2, or the run itself that is one; what edits need.

    Raises:
        ValueError: for what doesn't decode CLIP embeddings.
    """
    decoder = trained.members.get(DECODER) if isinstance(trained, Chain) else trained
    if isinstance(decoder, Stage) and CLIP in decoder.parents and generates(decoder.interface):
        return decoder
    raise ValueError(
        f"a run of the family {trained.config.family!r} decodes no CLIP embeddings; name a DALL-E 2's folder or a "
        "decoder"
    )
