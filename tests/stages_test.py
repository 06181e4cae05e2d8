"""Runs that build on runs, with families of one number each: what reaches a loss, and what a stage is loaded with."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding, stages
from genjax.configs.recipes import common
from genjax.families import registry
from genjax.families.base import Family, LossOutputs, Player
from genjax.families.interfaces import ImageSampler, Samples
from genjax.families.terms import same
from genjax.training import workdir
from genjax.training.checkpoint import Checkpoints


def build(name, model, sampling, spec, parents):
    """w goes from `start` to the sum of the parents' w, halfway at each step; the interface tells how it was built."""

    def loss(params, inputs):
        target = sum([held.params["model"]["w"] for held in inputs.frozen.values()], 10.0)
        return LossOutputs({"loss": same(jnp.square(params["w"] - target))}, {}, inputs.extra + 1)

    def sample(weights, conditions, index, key):
        return Samples(jnp.zeros((len(index), *spec.image_shape)))

    def init(key, batch):
        return {"model": {"w": jnp.float32(model["start"])}}, jnp.zeros((), jnp.int32)

    interface = ImageSampler(sample, spec.image_shape, sampling.get("classes", 0), {"parents": float(len(parents))})
    return Family(init, (Player("model", loss),), lambda weights, batch, key: {}, interface)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(registry, "build", build)


def settings(data_dir, start, num_steps=2, decay=0.5, **parents):
    config = common.base()
    config.family = "vae"  # a name that there is; `build` stands for it
    config.data.update(name="digits", image_size=8, channels=1, batch_size=8, data_dir=str(data_dir))
    config.model = {"start": start}
    config.optimizer = {"model": common.adam(0.25, name="sgd")}  # w <- (w + target) / 2
    config.training.update(num_steps=num_steps)
    config.training.ema.update(decay=decay, warmup=False)
    config.checkpoint.update(every=1, keep=9)
    config.log.update(every=1, eval_every=0, sample_every=0)
    config.sampling.classes = 0
    config.stages = {name: {"workdir": where} for name, where in parents.items()}
    return config


def test_a_stage_is_the_newest_checkpoint_by_its_averages(data_dir, tmp_path):
    stages.train(settings(data_dir, start=2.0), tmp_path / "w")
    stage = stages.load(tmp_path / "w", sampling={"classes": 7})
    assert (stage.step, int(stage.weights.extra), stage.spec.image_shape) == (2, 2, (8, 8, 1))
    assert float(stage.weights.params["model"]["w"]) == 0.5 * (0.5 * 2.0 + 0.5 * 6.0) + 0.5 * 8.0
    assert stage.family.interface.num_classes == 7 and stage.config.sampling.classes == 7
    assert stage.config.seed == 0 and stage.tokenizer is None and not stage.weights.frozen
    first = stages.load(tmp_path / "w", step=1)
    assert first.step == 1 and float(first.weights.params["model"]["w"]) == 4.0
    assert first.record == {"step": 1, "checksum": first.checksum} != stage.record
    checkpoints = Checkpoints(tmp_path / "w" / "checkpoints", read_only=True)
    sums = checkpoints.identity(2)
    checkpoints.close()
    assert stage.checksum == (sums["ema"] + sums["extra"]) % 2**32 != sums["params"]
    with pytest.raises(ValueError, match="no longer holds step 5"):
        stages.load(tmp_path / "w", step=5)


def test_a_stage_sampled_in_another_way_reads_nothing_again(data_dir, tmp_path, monkeypatch):
    stages.train(settings(data_dir, start=2.0), tmp_path / "w")
    stage = stages.load(tmp_path / "w")
    monkeypatch.setattr(stages, "Checkpoints", lambda *_, **__: pytest.fail("a checkpoint is opened"))
    monkeypatch.setattr(workdir, "read_json", lambda path: pytest.fail(f"{path} is read"))
    other = stages.with_sampling(stage, {"classes": 7})
    assert other.weights is stage.weights and other.family.interface.num_classes == 7
    assert other.config.sampling.classes == 7 and stage.config.sampling.classes == 0


def test_a_stage_without_averages_is_its_parameters_on_the_given_mesh(data_dir, tmp_path):
    stages.train(settings(data_dir, start=2.0, decay=0.0), tmp_path / "w")
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    stage = stages.load(tmp_path / "w", mesh)
    assert float(stage.weights.params["model"]["w"]) == 8.0
    assert stage.weights.params["model"]["w"].sharding.device_set == {jax.devices()[0]}


def test_a_child_is_trained_on_its_parents_and_keeps_to_their_checkpoints(data_dir, tmp_path):
    """The target is 10 and both parents' averages, 10 in all of start; a parent that goes on doesn't move it."""
    stages.train(settings(data_dir, start=4.0, num_steps=1), tmp_path / "one")
    stages.train(settings(data_dir, start=6.0, num_steps=0), tmp_path / "two")
    config = settings(data_dir, 0.0, 1, 0.0, first="../one", second=str(tmp_path / "two"))
    stages.train(config, tmp_path / "child")
    child = stages.load(tmp_path / "child")
    one, two = 0.5 * 4.0 + 0.5 * 7.0, 6.0
    assert float(child.weights.params["model"]["w"]) == (10 + one + two) / 2
    assert child.family.interface.options == {"parents": 2.0} and child.parents.keys() == {"first", "second"}
    held = {name: float(weights.params["model"]["w"]) for name, weights in child.weights.frozen.items()}
    assert held == {"first": one, "second": two}
    longer = settings(data_dir, start=4.0, num_steps=2)
    stages.train(longer, tmp_path / "one")
    assert stages.load(tmp_path / "one").step == 2
    chex.assert_trees_all_equal(stages.load(tmp_path / "child").weights, child.weights)


def test_parents_that_are_missing_or_others_are_named(data_dir, tmp_path):
    stages.train(settings(data_dir, start=4.0, num_steps=0), tmp_path / "one")
    stages.train(settings(data_dir, 0.0, 0, first="../one"), tmp_path / "child")
    with pytest.raises(
        ValueError, match=r"config.stages.first.workdir is empty: name the run .* --config.stages.first"
    ):
        stages.train(settings(data_dir, 0.0, first=""), tmp_path / "other")
    with pytest.raises(ValueError, match="config.stages.first.workdir: "):
        stages.train(settings(data_dir, 0.0, first="nowhere"), tmp_path / "other")
    stages.train(settings(data_dir, start=5.0, num_steps=0), tmp_path / "two")
    (tmp_path / "one").rename(tmp_path / "moved")
    (tmp_path / "two").rename(tmp_path / "one")
    with pytest.raises(ValueError, match="has other weights than those that .*child was trained on"):
        stages.load(tmp_path / "child")


def test_codes_are_of_one_of_the_parents_by_its_step_and_its_weights():
    parents = {"tokenizer": stages.Stage(None, None, None, None, step=4, checksum=77)}

    def check(record):
        data = stages.loader.Data(settings("", 0.0).data.to_dict() | {"encoded": "runs/codes"})
        data.__dict__["manifest"] = SimpleNamespace(stage=record) if record else None
        stages._check_parents(data, parents)

    check({"step": 4, "checksum": 77})
    check(None)
    for other in ({"step": 4, "checksum": 78}, {"step": 5, "checksum": 77}):
        with pytest.raises(ValueError, match="runs/codes was written by another stage .*those in config.stages"):
            check(other)


@pytest.mark.parametrize(("due", "looked"), [({}, 0), ({"eval_every": 9}, 1), ({"sample_every": 9}, 1)])
def test_held_out_data_has_to_be_there_where_it_is_shown_or_measured(data_dir, tmp_path, monkeypatch, due, looked):
    config, requested = settings(data_dir, start=2.0, num_steps=0), []
    config.log.update(due)
    monkeypatch.setattr(stages.loader.Data, "check_eval_split", lambda data: requested.append(data))
    stages.train(config, tmp_path / "w")
    assert len(requested) == looked


def test_a_run_starts_from_the_averages_of_another(data_dir, tmp_path):
    stages.train(settings(data_dir, start=2.0), tmp_path / "w")
    config = settings(data_dir, start=100.0, num_steps=0)
    config.init_from = str(tmp_path / "w")
    stages.train(config, tmp_path / "tuned")
    assert float(stages.load(tmp_path / "tuned").weights.params["model"]["w"]) == 6.0


@pytest.mark.parametrize("accepts", [True, False])
def test_all_that_a_run_is_trained_with_reaches_the_loop(data_dir, tmp_path, monkeypatch, accepts):
    stages.train(settings(data_dir, start=6.0, num_steps=0), tmp_path / "one")
    config, notes = settings(data_dir, 0.0, first=str(tmp_path / "one")), {}
    config.init_from = str(tmp_path / "one")
    monkeypatch.setattr(stages.loop, "train", lambda *found, **named: notes.update(zip("cfdmn", found), **named))
    stages.train(config, tmp_path / "w", accepts)
    parent = stages.load(tmp_path / "one")
    assert notes["c"].model == config.model and notes["n"] == workdir.read(tmp_path / "w")
    assert notes["stages"] == {"first": parent.record} and notes["accept_changed_data"] is accepts
    assert float(notes["frozen"]["first"].params["model"]["w"]) == 6.0 and notes["d"].spec == parent.spec
    assert float(notes["load_initial"](None)["model"]["w"]) == 6.0


def test_examples_have_what_the_data_has():
    batch = stages.example_batch(stages.DataSpec((4, 6, 3), 5, text_length=7))
    found = {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()}
    assert found == {
        "image": ((1, 4, 6, 3), jnp.float32),
        "label": ((1,), jnp.int32),
        "tokens": ((1, 7), jnp.int32),
    }
    assert stages.example_batch(stages.DataSpec((4, 6, 3))).keys() == {"image"}
    assert np.prod(batch["image"].shape) == 72
