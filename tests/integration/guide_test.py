"""`sample.py --guide`: a run, guided by a classifier that was trained beside it."""

import json
import shutil

import numpy as np
import pytest

from genjax import stages
from genjax.pipelines import requests
from genjax.pipelines import sampling as sampling_lib
from tests.integration.conftest import SHORT


@pytest.fixture(scope="module")
def classifier(programs, tmp_path_factory):
    """A workdir of the tiny classifier of digits."""
    workdir = tmp_path_factory.mktemp("guides") / "classifier"
    flags = (*SHORT, "--config.log.eval_every=12")
    programs.train(workdir, *flags, config="configs/classifier_digits.py:tiny")
    return workdir


@pytest.mark.slow
def test_a_classifier_guides_a_run(programs, classifier, trained, tmp_path):
    assert "accuracy_q1" in (classifier / "metrics.jsonl").read_text()
    guide = f"--guide=classifier:{classifier}:2.0"
    programs.run("sample", f"--workdir={trained}", "--num_samples=20", guide, f"--out={tmp_path}")
    with np.load(tmp_path / "samples.npz") as file:
        assert file["arr_0"].std() > 0
        np.testing.assert_array_equal(np.bincount(file["arr_1"]), [2] * 10)


def test_guides_of_flags_and_of_the_config_are_refused_in_one_line(trained, tmp_path):
    guide = f"classifier:{trained}:1.0"
    configured = tmp_path / "configured"
    shutil.copytree(trained, configured)
    config = json.loads((configured / "config.json").read_text())
    config["sampling"]["guides"] = [guide]
    (configured / "config.json").write_text(json.dumps(config))
    for folder, guides in ((trained, (guide,)), (configured, ())):
        with pytest.raises(ValueError, match="^[^\n]*needs the workdir of a noisy_classifier[^\n]*$"):
            requests.prepare(stages.load(folder), requests.make(guides=guides))


@pytest.mark.slow
def test_a_classifier_draws_nothing(programs, classifier, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(programs.data_dir))
    with pytest.raises(ValueError, match="'noisy_classifier' draws no images"):
        sampling_lib.draw(stages.load(classifier), 1)
