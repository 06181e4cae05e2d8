"""A run is sampled and evaluated from its workdir while it trains there, and doesn't notice."""

import importlib
import json
import threading

import numpy as np
import pytest

from genjax import stages
from genjax.core.images import from_uint8
from genjax.data import loader
from genjax.metrics import feature_net, report
from genjax.pipelines import evaluation
from genjax.pipelines import sampling as sampling_lib
from genjax.training import checkpoint, lock, loop, workdir
from genjax.training.checkpoint import Checkpoints


@pytest.fixture(autouse=True)
def quick_net(monkeypatch):
    """A feature net of random weights: which files there are is requested here, not what the figures are."""

    def train(key, images, labels, num_classes, num_steps):
        return feature_net.Classifier(num_classes).init(key, from_uint8(images[:1]))

    monkeypatch.setattr(feature_net, "_train", train)


def make(data_dir):
    config = importlib.import_module("configs.vae_digits").get_config("tiny")
    config.data.update(data_dir=str(data_dir), eval_split="test[:40]")
    config.training.num_steps = 4
    config.checkpoint.update(every=2, keep=1)
    config.log.update(every=1, sample_every=4, eval_every=4, num_samples=4)
    return config


def files(workdir):
    """What is in it, but for the time of the lock and the curves, which the run itself writes at any moment."""
    return {
        str(path.relative_to(workdir)): (path.read_bytes(), path.name != lock.NAME and path.stat().st_mtime_ns)
        for path in workdir.rglob("*")
        if path.is_file() and not path.name.startswith("events")
    }


def lines(workdir):
    """What is logged, but for the speed."""
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "per_second" not in name} for line in found]


def sample_and_evaluate(workdir):
    """As the programs do it; the step that they read."""
    stage = stages.load(workdir)
    drawn = sampling_lib.draw(stage, 5)
    sampling_lib.save(workdir / "samples", drawn)
    result = evaluation.evaluate(stage, workdir, drawn)
    report.write_report(workdir / "evaluation.json", result)
    assert f"of the checkpoint of step {stage.step}" in evaluation.format_result(result)
    return json.loads((workdir / "evaluation.json").read_text())["step"]


@pytest.mark.slow
def test_a_run_that_is_read_while_it_writes_a_checkpoint(data_dir, tmp_path, monkeypatch):
    """What is read is the last whole checkpoint; but for samples and figures the reader leaves all as it is."""
    stages.train(make(data_dir), tmp_path / "alone")
    workdir, written, go_on, seen = tmp_path / "run", threading.Event(), threading.Event(), []
    note, show = Checkpoints._note_files, loop.show

    def note_late(self):
        """The checkpoint of step 4 stays without its name until the one before was read."""
        if (self.folder / "2").is_dir():
            written.set()
            assert go_on.wait(120)
        note(self)

    def read():
        assert written.wait(120)
        before = files(workdir)
        assert lock.NAME in before and list((workdir / "checkpoints").glob(checkpoint.TEMPORARY))
        seen.append(sample_and_evaluate(workdir))
        after = files(workdir)
        assert {name: after.get(name) for name in before} == before
        new = {"samples/samples.npz", "samples/samples.png", "evaluation.json"}
        assert after.keys() - before.keys() == new | {f"feature_net/feature_net.{end}" for end in ("npz", "json")}

    def show_late(run, state, logger, step, now):
        if step == 4:
            try:
                read()
            finally:
                go_on.set()
        show(run, state, logger, step, now)

    monkeypatch.setattr(Checkpoints, "_note_files", note_late)
    monkeypatch.setattr(loop, "show", show_late)
    stages.train(make(data_dir), workdir)
    assert seen == [2] and Checkpoints(workdir / "checkpoints").steps() == [4]
    assert lines(workdir) == lines(tmp_path / "alone")
    assert stages.load(workdir).checksum == stages.load(tmp_path / "alone").checksum
    with np.load(workdir / "samples" / "samples.npz") as file:
        assert file["arr_0"].shape == (5, 8, 8, 1)


def test_a_run_without_a_checkpoint_says_when_there_is_one(data_dir, tmp_path):
    """Of what a run leaves before the first: its config, and what it is."""
    config = make(data_dir)
    spec = loader.Data(config.data.to_dict()).spec
    workdir.claim(tmp_path / "run", config, stages.build(config, spec, {}).interface, spec=spec)
    with pytest.raises(ValueError, match="run holds no checkpoint yet, the first is that of step 2: train"):
        stages.load(tmp_path / "run")
