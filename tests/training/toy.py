"""Families small enough to check by hand."""

import jax
import jax.numpy as jnp

from genjax import sharding
from genjax.data import loader
from genjax.families.base import Family, LossInputs, LossOutputs, Player
from genjax.families.interfaces import ImageSampler, Samples
from genjax.families.terms import same
from genjax.training import loop, workdir
from genjax.training.lock import Lock


def _loss(name, other=None):
    """Mean square of (w - image mean), plus the other player's w: gradient 2 (w - mean), extra counts the calls."""

    def loss(params, inputs: LossInputs):
        target = jnp.mean(inputs.batch["image"])
        pull = inputs.others[other]["w"] if other else 0.0
        value = jnp.mean(jnp.square(params["w"] - target)) + 0.0 * jnp.sum(pull)
        return LossOutputs({"loss": same(value)}, {"seen": same(jnp.sum(pull))}, inputs.extra + 1)

    return loss


def family(players=("model",), every=1, size=3) -> Family:
    """A family of players with one vector `w` each; the second sees the first."""

    def init(key, batch):
        keys = jax.random.split(key, len(players))
        return {name: {"w": jax.random.normal(k, (size,))} for name, k in zip(players, keys)}, jnp.zeros((), jnp.int32)

    made = [Player(players[0], _loss(players[0]))]
    made += [Player(name, _loss(name, players[0]), every) for name in players[1:]]

    def sample(weights, conditions, index, key):
        return Samples(jnp.zeros((index.shape[0], 2, 2, 1)))

    def evaluate(weights, batch, key):
        return {"mean": jnp.mean(batch["image"], axis=(1, 2, 3))}

    return Family(init, tuple(made), evaluate, ImageSampler(sample, (2, 2, 1), 0))


def train(config, family, folder, data=None, **how):
    """Train a family in a workdir, as `genjax.stages.train` does those of its registry; returns the final state."""
    with Lock(folder) as lock:
        notes = workdir.read(folder)
        workdir.check_config(notes, config)
        data, mesh = data or loader.Data(config.data.to_dict()), sharding.make_mesh(**config.mesh)
        return loop.train(config, family, data, mesh, notes, lock, **how)


def batch(values, size=2):
    """Constant images, one of each value."""
    return {"image": jnp.asarray(values, jnp.float32)[:, None, None, None] * jnp.ones((1, size, size, 1))}
