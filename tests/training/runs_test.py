"""Runs of the toy family on real images: what is due is made, what goes wrong is said in one line and loses nothing."""

import errno
import json
import shutil
import signal
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs.recipes import common
from genjax.data import loader
from genjax.training import loop, signals, workdir
from genjax.training.checkpoint import Checkpoints, NotSavedError
from genjax.training.due import is_finished
from genjax.training.finite import NotFiniteError
from genjax.training.lock import LockedError
from tests.training import toy


def make_config(drawn_folder):
    made = common.base()
    made.family = "toy"
    made.data.update(name=f"folder:{drawn_folder}", image_size=16, batch_size=8)
    made.optimizer = {"model": common.adam(0.1)}
    made.training.num_steps = 4
    made.checkpoint.every = 2
    made.log.update(every=1, eval_every=2, sample_every=2, num_samples=4)
    return made


@pytest.fixture
def config(drawn_folder):
    return make_config(drawn_folder)


def train(config, folder, **how):
    return toy.train(config, toy.family(), folder, **how)


def data_of(config, spec):
    """The data of a config, which says of itself what it isn't."""
    data = loader.Data(config.data.to_dict())
    data.spec = spec
    return data


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def shown(folder):
    """Step and names of each line, speeds and values left out."""
    return [(line["step"], sorted(name for name in line if "per_second" not in name)) for line in lines(folder)]


class Killed(BaseException):
    """The end of a process that had no time to do anything."""


@pytest.mark.parametrize(
    ("step", "when"),
    [
        (2, "evaluate_held_out"),
        (4, "draw_grid"),
        pytest.param(2, "draw_grid", marks=pytest.mark.slow),
        pytest.param(4, "evaluate_held_out", marks=pytest.mark.slow),
    ],
)
def test_what_was_due_at_a_kill_is_made_when_resumed(config, whole, tmp_path, monkeypatch, when, step):
    def killed(run, state):
        if int(state.step) == step:
            run.checkpoints.wait()
            raise Killed
        return before(run, state)

    before = getattr(loop.Run, when)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop.Run, when, killed)
        train(config, tmp_path / "w")
    assert Checkpoints(tmp_path / "w" / "checkpoints").steps()[0] == step
    assert is_finished(config, whole) and not is_finished(config, tmp_path / "w")
    state = train(config, tmp_path / "w")
    assert shown(tmp_path / "w") == shown(whole)
    assert grids(tmp_path / "w") == grids(whole)
    again = (tmp_path / "w" / "metrics.jsonl").read_text()
    assert int(state.step) == 4 and int(train(config, tmp_path / "w").step) == 4
    assert (tmp_path / "w" / "metrics.jsonl").read_text() == again, "once made, it isn't made again"


def grids(folder):
    return {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}


@pytest.fixture(scope="module")
def whole(drawn_folder, tmp_path_factory):
    """The workdir of an undisturbed run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(make_config(drawn_folder), folder)
    return folder


def test_an_undisturbed_run_leaves_no_lock_and_nothing_half_written(whole):
    assert {path.name.split(".")[0] for path in whole.iterdir()} == {
        "checkpoints", "config", "stage", "metrics", "samples", "events",
    }  # fmt: skip
    assert [line[0] for line in shown(whole)] == [1, 2, 2, 3, 4, 4]


def test_a_second_run_on_the_workdir_is_refused_and_the_first_goes_on(config, tmp_path, monkeypatch):
    refused = []

    def second(run, state):
        with pytest.raises(LockedError, match="in use by process"):
            train(config, tmp_path / "w")
        refused.append(int(state.step))
        return {}

    monkeypatch.setattr(loop.Run, "evaluate_held_out", second)
    assert int(train(config, tmp_path / "w").step) == 4 and refused == [2, 4]
    assert [line[0] for line in shown(tmp_path / "w")] == [1, 2, 3, 4]


def unlucky(*steps):
    """The toy family, whose loss is NaN at these states of the counter of steps."""
    family = toy.family()
    player = family.players[0]

    def loss(params, inputs):
        outputs = player.loss(params, inputs)
        term = outputs.terms["loss"]
        bad = term._replace(total=jnp.where(jnp.isin(inputs.step, jnp.array(steps)), jnp.nan, 1.0) * term.total)
        return outputs._replace(terms={"loss": bad})

    return family._replace(players=(player._replace(loss=loss),))


def test_a_run_that_ends_badly_names_the_way_out_and_it_works(config, tmp_path):
    """The third loss is NaN; metrics are looked at only before a checkpoint, which then isn't written."""
    config.log.update(every=100, eval_every=0, sample_every=0)
    with pytest.raises(NotFiniteError, match="step 3: the loss of 'model' .*on_nonfinite=skip.* checkpoint: step 2 in"):
        toy.train(config, unlucky(2), tmp_path / "w")
    assert Checkpoints(tmp_path / "w" / "checkpoints").steps() == [2]
    config.optimizer.model.update(learning_rate=0.01, clip_norm=1.0)
    config.training.on_nonfinite = "skip"
    state = toy.train(config, unlucky(2), tmp_path / "w")
    assert int(state.step) == 4 and int(state.opt_state["model"][0][0].count) == 3, "one update was left out"
    assert lines(tmp_path / "w")[-1]["updates_skipped"] == 1
    assert np.isfinite(state.params["model"]["w"]).all()


def test_updates_are_left_out_up_to_a_number_in_a_row(config, tmp_path):
    config.training.update(on_nonfinite="skip", max_nonfinite=1)
    with pytest.raises(NotFiniteError, match="step 4: .* and 1 before it in a row"):
        toy.train(config, unlucky(2, 3), tmp_path / "w")


def test_num_steps_below_the_checkpoint_changes_nothing(config, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "w")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "w").rglob("*")) if path.is_file()}
    config.training.num_steps = 3
    with pytest.raises(ValueError, match="num_steps=3, but the run in .* is at step 4 already"):
        train(config, tmp_path / "w")
    assert {path: path.read_bytes() for path in sorted((tmp_path / "w").rglob("*")) if path.is_file()} == before


def test_changed_data_is_refused_before_anything_is_restored_or_taken_by_name(config, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "w")
    config.training.num_steps = 5
    noted = workdir.read(whole).spec
    more = noted._replace(fingerprint=tuple(line.replace(" 24 ", " 25 ") for line in noted.fingerprint))
    monkeypatch.setattr(Checkpoints, "restore_newest", None)
    with pytest.raises(ValueError, match="there are 25 images, and there were 24.* --accept_changed_data"):
        train(config, tmp_path / "w", data=data_of(config, more))
    other = noted._replace(image_shape=(8, 8, 3))
    with pytest.raises(ValueError, match="images are 8x8x3"):
        train(config, tmp_path / "w", data=data_of(config, other), accept_changed_data=True)
    monkeypatch.undo()
    assert int(train(config, tmp_path / "w", data=data_of(config, more), accept_changed_data=True).step) == 5
    assert workdir.read(tmp_path / "w").spec == more


def test_a_dead_worker_of_the_loader_saves_first(config, tmp_path, monkeypatch):
    before = loader.TrainIterator.__next__

    def die(batches):
        if batches.get_state()["next_index"] == 3:
            raise loader.WorkerDied(-9)
        return before(batches)

    monkeypatch.setattr(loader.TrainIterator, "__next__", die)
    with pytest.raises(loader.WorkerDied, match="a data worker died .SIGKILL.* Saved step 3 in .* run again"):
        train(config, tmp_path / "w")
    monkeypatch.undo()
    assert Checkpoints(tmp_path / "w" / "checkpoints").steps() == [3, 2]
    assert int(train(config, tmp_path / "w").step) == 4


def test_training_in_a_thread(config, tmp_path):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(int(train(config, tmp_path / "w").step)))
    thread.start()
    thread.join()
    assert ended == [4]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_and_a_second_one_stops_at_once(config, tmp_path, monkeypatch, times):
    before = loop.Logger.step

    def step(logger, number, metrics):
        before(logger, number, metrics)
        if number == 3:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Logger, "step", step)
    with pytest.raises(signals.Interrupted) as stop:
        train(config, tmp_path / "w")
    assert stop.value.code == 130 and stop.value.at_once == (times == 2)
    assert (3 in Checkpoints(tmp_path / "w" / "checkpoints").steps()) == (times == 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_checkpoint_that_the_disk_does_not_take_ends_the_run_in_one_line(config, tmp_path, monkeypatch):
    before = Checkpoints.save

    def save(checkpoints, state, position):
        if int(state.step) == 4:
            checkpoints.wait()
            monkeypatch.setattr(checkpoints.manager, "save", full)
        before(checkpoints, state, position)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(NotSavedError, match="step 4 can't be written .*No space left.* that of step 2"):
        train(config, tmp_path / "w")
    monkeypatch.undo()
    assert int(train(config, tmp_path / "w").step) == 4


def test_the_owner_of_a_workdir_removes_what_a_killed_run_left_half_written(config, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "w")
    (tmp_path / "w" / "checkpoints" / "6.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (tmp_path / "w" / "config.json.17.part").write_text("{")
    (tmp_path / "w" / "samples" / "step_4.png.part").write_text("half")
    train(config, tmp_path / "w")
    assert {path.name for path in (tmp_path / "w" / "checkpoints").iterdir()} == {"2", "4"}
    assert not list((tmp_path / "w").rglob("*.part"))
