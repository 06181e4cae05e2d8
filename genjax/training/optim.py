"""Optimizers from config: one optax chain for each player.

Adam is AdamW with no decay. Decoupled weight decay acts on all parameters of two axes and more: kernels, tables of
embeddings, positions and attention biases; not on biases, the gains of norms and other vectors. So do CLIP
and GPT; guided-diffusion's few recipes with decay also shrink those.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax.core import tree as tree_lib
from genjax.families.base import Family
from genjax.typing import Params, PyTree

OPTIMIZERS = ("adam", "adamw", "adafactor", "sgd")
SCHEDULES = ("constant", "cosine", "linear")
EMBEDDINGS = r"(?:^|/)(?:patches|class_token|mask_token|positions|embed)(?:/|$)"
"""Parameters that count as the layer below all blocks in `layer_factors`."""


def learning_rate(settings: Mapping[str, Any], num_steps: int) -> optax.Schedule:
    """The learning rate at each step: linear warm-up from 0, then constant, or a decay.

    The decay ends at `settings["decay_steps"]`, or where that is 0 at `num_steps`.

    Raises:
        ValueError: for an unknown schedule.
    """
    peak, warmup = settings["learning_rate"], settings["warmup_steps"]
    decay_steps = max((settings["decay_steps"] or num_steps) - warmup, 1)
    if settings["schedule"] == "constant":
        after = optax.constant_schedule(peak)
    elif settings["schedule"] == "cosine":
        after = optax.cosine_decay_schedule(peak, decay_steps, alpha=settings["end_factor"])
    elif settings["schedule"] == "linear":
        after = optax.linear_schedule(peak, peak * settings["end_factor"], decay_steps)
    else:
        raise ValueError(f"unknown learning-rate schedule {settings['schedule']!r}; use one of {SCHEDULES}")
    if not warmup:
        return after
    return optax.join_schedules([lambda step: peak * (step + 1.0) / warmup, after], [warmup])


def make_optimizers(
    settings: Mapping[str, Mapping[str, Any]], family: Family, num_steps: int
) -> dict[str, optax.GradientTransformation]:
    """The optax chain of each player, by its name.

    Args:
        settings: player name -> fields as in `configs.common.adam`: `config.optimizer`.
        family: whose players they train.
        num_steps: where a decaying learning rate ends.

    Raises:
        ValueError: for a player without settings, or settings that `make_optimizer` refuses.
    """
    missing = [player.name for player in family.players if player.name not in settings]
    if missing:
        raise ValueError(f"config.optimizer.{missing[0]} is missing; this family's players need an optimizer each")
    return {player.name: make_optimizer(settings[player.name], num_steps) for player in family.players}


def make_optimizer(settings: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
    """The optax chain of one player: clipping by the global norm, then the optimizer.

    Args:
        settings: fields as in `configs.common.adam`.
        num_steps: where a decaying learning rate ends.

    Raises:
        ValueError: for an unknown optimizer.
    """
    rate, name = learning_rate(settings, num_steps), settings["name"]
    if settings["weight_decay"] and name != "adamw":
        raise ValueError(f"weight_decay={settings['weight_decay']} needs the optimizer 'adamw', not {name!r}")
    if name in ("adam", "adamw"):
        core = optax.adamw(
            rate,
            settings["b1"],
            settings["b2"],
            settings["eps"],
            weight_decay=settings["weight_decay"],
            mask=_is_matrix,
        )
    elif name == "adafactor":
        core = optax.adafactor(rate)
    elif name == "sgd":
        core = optax.sgd(rate, momentum=settings["momentum"] or None)
    else:
        raise ValueError(f"unknown optimizer {name!r}; use one of {OPTIMIZERS}")
    clip = [optax.clip_by_global_norm(settings["clip_norm"])] if settings["clip_norm"] else []
    return optax.chain(*clip, core, *_layer_decay(settings.get("layer_decay", 1.0)))


def _layer_decay(decay: float) -> list[optax.GradientTransformation]:
    """What multiplies updates by `layer_factors`; nothing for a decay of 1."""
    if decay == 1:
        return []
    return [optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, layer_factors(updates, decay)))]


def layer_factors(params: Params, decay: float) -> PyTree:
    """`decay ** (number of layers above)` for each parameter of a stack of blocks (BEiT, arXiv:2106.08254, appendix).

    The blocks are the modules `block_0`, `block_1`, ..; what embeds patches or words (`EMBEDDINGS`) is the layer below
    them, all the rest the layer on top, whose factor is 1.
    """

    blocks = [re.search(r"(?:^|/)block_(\d+)/", path) for path in tree_lib.param_paths(params)]
    top = max((int(block[1]) for block in blocks if block), default=-1) + 2

    def factor(path, _):
        block = re.search(r"(?:^|/)block_(\d+)/", path)
        layer = int(block[1]) + 1 if block else 0 if re.search(EMBEDDINGS, path) else top
        return decay ** (top - layer)

    return tree_lib.map_with_path(factor, params)


def _is_matrix(params):
    """Which parameters decay: all but biases and the gains of norms."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)
