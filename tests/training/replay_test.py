"""A whole run against a replay by hand: each loss, rate, average, evaluation and image, and a run that was stopped."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.configs.recipes import common
from genjax.core import rng
from genjax.data import loader
from genjax.families.base import Family, LossOutputs, Player
from genjax.families.interfaces import ImageSampler, Samples
from genjax.families.terms import same
from genjax.training.checkpoint import Checkpoints
from tests.training import toy

STEPS, EVERY, DECAY, RATE = 6, 2, 0.6, 0.25


def family() -> Family:
    """w learns the mean of the images, by a loss that reports its key's draw, its step and how often it was called."""

    def loss(params, inputs):
        target = jnp.mean(inputs.batch["image"])
        metrics = {
            "draw": jax.random.uniform(inputs.key),
            "step": inputs.step.astype(jnp.float32),
            "calls": inputs.extra.astype(jnp.float32),
        }
        value = same(jnp.square(params["w"] - target))
        return LossOutputs({"loss": value}, {name: same(one) for name, one in metrics.items()}, inputs.extra + 1)

    def evaluate(weights, batch, key):
        error = jnp.mean(batch["image"], (1, 2, 3)) - weights.params["model"]["w"]
        return {"error": error, "draw": jax.random.uniform(key) * jnp.ones_like(error)}

    def sample(weights, conditions, index, key):
        value = weights.params["model"]["w"] + conditions.label / 10 + conditions.options["guidance_scale"] / 100
        return Samples(jnp.broadcast_to(value[:, None, None, None], (len(value), 8, 8, 1)))

    def init(key, batch):
        return {"model": {"w": jax.random.uniform(key)}}, jnp.zeros((), jnp.int32)

    interface = ImageSampler(sample, (8, 8, 1), 10, {"guidance_scale": 1.0})
    return Family(init, (Player("model", loss),), evaluate, interface)


def settings(data_dir, num_steps=STEPS, seed=3):
    config = common.base()
    config.family, config.seed = "toy", seed
    config.data.update(
        name="digits",
        split="test",
        eval_split="train",
        image_size=8,
        channels=1,
        batch_size=16,
        data_dir=data_dir,
    )
    config.optimizer = {"model": common.adam(RATE, name="sgd", schedule="linear", warmup_steps=2, decay_steps=6)}
    config.training.update(num_steps=num_steps, microbatches=1)
    config.training.ema.update(decay=DECAY, warmup=False)
    config.mesh.update(data=1, fsdp=-1)
    config.checkpoint.update(every=3, keep=5)
    config.log.update(every=EVERY, eval_every=4, sample_every=5, num_samples=20)
    config.sampling.update(batch_size=8, guidance_scale=3.0)
    return config


def rate(step):
    """Half, then all of RATE, then from there to 0 at step 6."""
    return RATE * (step + 1) / 2 if step < 2 else RATE * (6 - step) / 4


def replay(config):
    """[(loss, grad_norm, w, average) after each step]."""
    batches = loader.Data(config.data.to_dict()).train_iterator(config.seed)
    w = average = float(jax.random.uniform(rng.stream(jax.random.key(config.seed), "init")))
    history = [(np.nan, np.nan, w, average)]
    for step in range(STEPS):
        target = float(next(batches)["image"].astype(np.float64).mean())
        value, slope = (w - target) ** 2, 2 * (w - target)
        w -= rate(step) * slope
        average = DECAY * average + (1 - DECAY) * w
        history.append((value, abs(slope), w, average))
    batches.close()
    return history


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """(config, workdir, replay)."""
    folder = tmp_path_factory.mktemp("replay")
    config = settings(data_dir)
    state = toy.train(config, family(), folder / "w")
    history = replay(config)
    np.testing.assert_allclose(state.params["model"]["w"], history[-1][2], rtol=1e-5)
    np.testing.assert_allclose(state.ema["model"]["w"], history[-1][3], rtol=1e-5)
    assert int(state.step) == int(state.extra) == STEPS
    return config, folder / "w", history


def lines(workdir, name):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return {line["step"]: line for line in found if name in line}


def test_metrics_are_means_of_the_steps_since_the_last_report(run):
    config, workdir, history = run
    reported = lines(workdir, "model/loss")
    starts = {2: 0, 3: 2, 4: 3, 5: 4, 6: 5}  # a report comes before all that is saved, evaluated or drawn, too
    assert reported.keys() == starts.keys()
    key = jax.random.key(config.seed)
    for step, start in starts.items():
        since = range(start, step)
        draws = [float(jax.random.uniform(rng.stream(key, "model", number))) for number in since]
        expected = {
            "model/loss": np.mean([history[number + 1][0] for number in since]),
            "model/grad_norm": np.mean([history[number + 1][1] for number in since]),
            "model/draw": np.mean(draws),
            "model/step": np.mean(since),
            "model/calls": np.mean(since),
        }
        for name, value in expected.items():
            assert reported[step][name] == pytest.approx(value, rel=2e-4, abs=1e-6), (step, name)


def test_evaluation_is_of_the_whole_held_out_split_by_the_averaged_weights(run):
    config, workdir, history = run
    images = loader.Data(config.data.to_dict()).load_arrays("train")["image"] / 127.5 - 1
    assert len(images) % config.data.batch_size, "the last batch has to be filled up"
    evaluated = lines(workdir, "eval/error")
    assert evaluated.keys() == {4, 6}
    key, sizes = jax.random.key(config.seed), [16] * (len(images) // 16) + [len(images) % 16]
    draws = [float(jax.random.uniform(rng.stream(key, "evaluate", place))) for place in range(len(sizes))]
    for step, values in evaluated.items():
        assert values["eval/error"] == pytest.approx(images.mean() - history[step][3], abs=1e-4)
        assert values["eval/draw"] == pytest.approx(np.average(draws, weights=sizes), rel=1e-4)


def test_grids_show_a_class_a_column_by_the_averaged_weights(run):
    _, workdir, history = run
    assert {path.name for path in (workdir / "samples").iterdir()} == {"step_5.png", "step_6.png"}
    for step in (5, 6):
        grid = np.asarray(Image.open(workdir / "samples" / f"step_{step}.png").convert("L"))
        values = history[step][3] + np.arange(10) / 10 + 0.03
        expected = np.clip(np.round((values + 1) * 127.5), 0, 255)
        shown = set(np.unique(grid).tolist())
        assert all(shown & {value - 1, value, value + 1} for value in expected.astype(int)), (step, shown, expected)


def test_checkpoints_hold_the_state_of_their_step(run):
    _, workdir, history = run
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert checkpoints.steps() == [6, 3]
    identities = [checkpoints.identity(step) for step in (6, 3)]
    checkpoints.close()
    assert all(identities[0][name] != identities[1][name] for name in ("params", "ema", "opt_state", "extra", "step"))


def test_a_resumed_run_is_the_undisturbed_one(run, tmp_path):
    """Killed after step 5: it goes on from step 3 with the batches, keys and averages that were to come."""
    config, workdir, _ = run
    shutil.copytree(workdir, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "checkpoints" / "6")
    toy.train(config, family(), tmp_path / "w")
    for name in ("model/loss", "eval/error"):
        again, before = lines(tmp_path / "w", name), lines(workdir, name)
        assert again.keys() == before.keys()
        for step in before:
            for metric in (name, name.replace("error", "draw").replace("loss", "draw")):
                assert again[step][metric] == before[step][metric], (step, metric)
    identities = []
    for folder in (workdir, tmp_path / "w"):
        checkpoints = Checkpoints(folder / "checkpoints")
        identities.append(checkpoints.identity(6))
        checkpoints.close()
    assert identities[0] == identities[1]


def test_another_seed_is_another_run(run, tmp_path):
    config, workdir, _ = run
    other = settings(config.data.data_dir, num_steps=2, seed=4)
    other.log.update(eval_every=0, sample_every=0)
    toy.train(other, family(), tmp_path / "w")
    before, after = lines(workdir, "model/loss")[2], lines(tmp_path / "w", "model/loss")[2]
    assert before["model/loss"] != after["model/loss"] and before["model/draw"] != after["model/draw"]


def test_a_run_may_start_from_given_parameters_and_none_when_nothing_is_due(run, tmp_path):
    """`init_from`: both parameters and their average start there; a run of no steps saves them."""
    config = settings(run[0].data.data_dir, num_steps=0)
    given = {"model": {"w": jnp.asarray(0.125, jnp.bfloat16)}}  # of a run, or a file, in another precision
    state = toy.train(config, family(), tmp_path / "w", load_initial=lambda _: given)
    assert state.params["model"]["w"].dtype == state.ema["model"]["w"].dtype == jnp.float32
    assert float(state.params["model"]["w"]) == float(state.ema["model"]["w"]) == 0.125
    assert {path.name for path in (tmp_path / "w" / "checkpoints").iterdir()} == {"0"}
