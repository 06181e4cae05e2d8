"""`evaluate.py`: what it writes and prints of a run, of a file of samples, and what it refuses."""

import json

import numpy as np
import pytest

from tests.integration.errors_test import error_of


@pytest.mark.slow
def test_a_run_and_its_file_give_the_same_figures(programs, trained):
    output = programs.run("evaluate", f"--workdir={trained}", "--num_samples=60")
    report = json.loads((trained / "evaluation.json").read_text())
    assert {"rows", "receipt", "held_out"} <= set(report) and "real train" in output and "held-out images" in output
    programs.run("sample", f"--workdir={trained}", "--num_samples=60")
    file = trained / "samples" / "samples.npz"
    programs.run("evaluate", f"--workdir={trained}", f"--samples={file}")
    again = json.loads((trained / "evaluation.json").read_text())
    assert again["rows"] == report["rows"]
    with np.load(file) as samples:
        assert len(samples["arr_0"]) == 60


@pytest.mark.slow
def test_holes_need_captions(programs, trained):
    line = error_of(programs.run("evaluate", f"--workdir={trained}", "--fill_holes", code=1))
    assert "'digits' has no captions to fill holes by" in line


@pytest.mark.slow
def test_likelihood_by_the_ode_of_the_digits_real_config(programs, tmp_path):
    """The network as it is, with its norms and attention; only training is short, and the data cut."""
    short = ("--config.training.num_steps=2", "--config.log.eval_every=0", "--config.log.sample_every=0")
    programs.train(tmp_path / "run", *short, "--config.data.eval_split=test[:20]", config="configs/ddpm_digits.py")
    output = programs.run("evaluate", f"--workdir={tmp_path / 'run'}", "--likelihood=ode", "--num_samples=20")
    bits = json.loads((tmp_path / "run" / "evaluation.json").read_text())["held_out"]["ode/bits_per_dim"]
    assert isinstance(bits, float) and np.isfinite(bits) and "ode/bits_per_dim" in output
