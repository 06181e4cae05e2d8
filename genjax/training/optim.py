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
    """The learning rate at each step of the run: linear warm-up from 0, then constant, or a decay.

    The decay ends at `settings["decay_steps"]`, or where that is 0 at `num_steps`. Steps are the run's, also for a
    player that doesn't act in each of them.

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


def check_decays(there: Mapping[str, Any], here: Mapping[str, Any], step: int) -> None:
    """Nothing, if a run may go on from `step`: a decay that ends with the run must not move when its end does.

    Else a rate that had decayed would jump up again, unnoticed. Before a decay begins, nothing jumps.

    Args:
        there: the config, as a mapping, that the run was trained with.
        here: the one it is to go on with.
        step: that it goes on from.

    Raises:
        ValueError: for a decay that is tied to another `training.num_steps` now.
    """
    before, now = there["training"]["num_steps"], here["training"]["num_steps"]
    for name, settings in here["optimizer"].items():
        end = there["optimizer"].get(name, {}).get("decay_steps") or before
        if settings["decay_steps"] or settings["schedule"] == "constant" or end == now:
            continue
        rates = [float(learning_rate({**settings, "decay_steps": steps}, steps)(step)) for steps in (end, now)]
        if rates[0] != rates[1]:
            raise ValueError(
                f"config.training.num_steps={now} moves the end of the decay of the learning rate of {name!r}, which "
                f"is at step {end}, and the rate would jump from {rates[0]:.3g} to {rates[1]:.3g}: set "
                f"--config.optimizer.{name}.decay_steps={end} to keep it (it stays at its end from there on), or ={now}"
            )


def make_optimizers(
    settings: Mapping[str, Mapping[str, Any]], family: Family, num_steps: int
) -> dict[str, optax.GradientTransformation]:
    """The optax chain of each player, by its name.

    Args:
        settings: player name -> fields as of `make_optimizer`: `config.optimizer`.
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

    Its `update` takes the run's `step`, from which the learning rate follows; without it, own updates are counted. The
    state is the same with clipping and without, so that it may be turned on when a run is resumed.

    Args:
        settings: `name`, one of `OPTIMIZERS`; `learning_rate`; `schedule`, one of `SCHEDULES`: from that rate to
            `end_factor` times it at `decay_steps`, or `num_steps` if that is 0; `warmup_steps`, linear from 0; `b1`,
            `b2`, `eps`; `momentum` (sgd); `weight_decay` (decoupled; adamw); `clip_norm` of the global gradient, 0 =
            off; `layer_decay`: each block of a transformer learns that much slower than the one above, 1 = all alike.
        num_steps: where a decaying learning rate ends.

    Raises:
        ValueError: for an unknown optimizer.
    """
    rate, name = learning_rate(settings, num_steps), settings["name"]
    if settings["weight_decay"] and name != "adamw":
        raise ValueError(f"weight_decay={settings['weight_decay']} needs the optimizer 'adamw', not {name!r}")
    if name in ("adam", "adamw"):
        core = optax.chain(
            optax.scale_by_adam(settings["b1"], settings["b2"], settings["eps"]),
            optax.add_decayed_weights(settings["weight_decay"], _is_matrix),
            _scale_by_rate(rate),
        )
    elif name == "adafactor":
        core = optax.chain(optax.adafactor(learning_rate=None), _scale_by_rate(rate, -1.0))
    elif name == "sgd":
        momentum = optax.trace(settings["momentum"]) if settings["momentum"] else optax.identity()
        core = optax.chain(momentum, _scale_by_rate(rate))
    else:
        raise ValueError(f"unknown optimizer {name!r}; use one of {OPTIMIZERS}")
    return optax.chain(_clip_first(settings["clip_norm"], core), *_layer_decay(settings.get("layer_decay", 1.0)))


def _clip_first(norm: float, core: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """`core` of gradients that are cut to a global norm, 0 = not; its state is the same with and without."""
    clip = optax.clip_by_global_norm(norm) if norm else optax.identity()

    def update(updates, state, params=None, **extra):
        updates, _ = clip.update(updates, optax.EmptyState(), params)
        return core.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(core.init, update)


def _scale_by_rate(rate: optax.Schedule, sign: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by minus the learning rate at the run's `step`, or else at the number of own updates.

    Args:
        rate: step -> learning rate.
        sign: -1 for updates that already go downhill.
    """

    def update(updates, state, params=None, *, step=None, **_):
        factor = -sign * rate(state.count if step is None else step)
        updates = jax.tree.map(lambda value: (factor * value).astype(value.dtype), updates)
        return updates, optax.ScaleByScheduleState(state.count + 1)

    init = optax.scale_by_schedule(rate).init
    return optax.GradientTransformationExtraArgs(init, update)


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
