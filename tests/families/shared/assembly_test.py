"""What most families share: the assembly of one player, the mean as a loss, and what their builders read and refuse."""

from typing import NamedTuple

import jax.numpy as jnp
import pytest

from genjax.families.shared.assembly import builder, mean_loss, one_player
from genjax.families.terms import mean_of
from genjax.typing import DataSpec

SPEC = DataSpec((2, 2, 1))


class Settings(NamedTuple):
    width: int
    depth: int = 1


class Model(NamedTuple):
    width: int

    def init(self, key, batch):
        return {"model": {}}, ()

    def loss_fn(self, params, inputs):
        return mean_loss(inputs.batch["image"])

    def evaluate(self, weights, batch, key):
        return {}


@builder("toy", Settings)
def build(settings, spec):
    """Its settings and what it is built for, as the interface."""
    return one_player(
        Model(settings.width), (settings, spec), [("kernel$", ("mlp",))], batch_coupled="coupled", adopt=max
    )


def test_the_family_is_made_of_the_model_s_methods():
    family, model = build({"width": 3}, {"batch_size": 4}, SPEC, {}), Model(3)
    (player,) = family.players
    made = (family.init, player.loss, family.evaluate)
    assert [method.__func__ for method in made] == [Model.init, Model.loss_fn, Model.evaluate]
    assert all(method.__self__ == model for method in made)
    assert (player.name, player.every, player.batch_coupled) == ("model", 1, "coupled")
    assert family.interface == (Settings(3, 1), SPEC) and family.logical_axes == (("kernel$", ("mlp",)),)
    assert family.adopt is max and family.reconstruct is None
    assert build.__doc__.startswith("Its settings"), "the builder is documented as what it decorates"


def test_the_mean_is_a_sum_and_a_count():
    values = jnp.arange(6.0).reshape(2, 3)
    plain, measured = mean_loss(values), mean_loss(values, {"accuracy": mean_of(values[0])})
    assert (plain.metrics, plain.extra, list(plain.terms)) == ({}, (), ["loss"])
    assert (float(plain.terms["loss"].total), plain.terms["loss"].count) == (15.0, 6)
    assert float(measured.metrics["accuracy"].mean) == 1.0


@pytest.mark.parametrize(
    ("fields", "parents", "words"),
    [
        ({"width": 3, "hue": 1}, {}, r"config.model of the toy family: unknown \['hue'\]; its fields are"),
        ({}, {}, r"toy family: missing \['width'\]"),
        ({"width": 3}, {"tokenizer": 0}, "the family toy builds on no other stage; remove config.stages.tokenizer"),
    ],
)
def test_refusals(fields, parents, words):
    with pytest.raises(ValueError, match=words):
        build(fields, {}, SPEC, parents)


class Sampling(NamedTuple):
    num_steps: int = 5


@builder("child", Settings, Sampling, mother=str, father=int)
def build_child(settings, sampling, spec, mother, father):
    """All that it is built of, as the interface."""
    return one_player(Model(1), (settings, sampling, spec, mother, father), [], summarize=len)


def test_a_builder_reads_sampling_and_parents():
    family = build_child({"width": 3}, {"num_steps": 7}, SPEC, {"mother": "m", "father": 2})
    assert family.interface == (Settings(3, 1), Sampling(7), SPEC, "m", 2)
    assert family.players[0].summarize is len and family.players[0].batch_coupled == ""


@pytest.mark.parametrize(
    ("sampling", "parents", "words"),
    [
        ({"steps": 7}, {"mother": "m", "father": 2}, r"config.sampling of the child family: unknown \['steps'\]"),
        ({}, {"mother": "m"}, "the family child needs a int: .*config.stages.father.workdir"),
        ({}, {"mother": "m", "father": "f"}, "config.stages.father.workdir has to be the run of a int"),
    ],
)
def test_refusals_of_sampling_and_parents(sampling, parents, words):
    with pytest.raises(ValueError, match=words):
        build_child({"width": 3}, sampling, SPEC, parents)
