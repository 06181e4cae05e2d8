"""What goes wrong is told in one clear line, with a non-zero exit."""

import pytest

from configs import ddpm_digits
from genjax import stages
from genjax.pipelines import images
from tests.integration.conftest import SHORT


def error_of(output):
    """The one line that says what is wrong; nothing may look like a traceback."""
    assert "Traceback" not in output, output
    lines = [line for line in output.splitlines() if "error" in line.lower()]
    assert len(lines) == 1, output
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config.training.nun_steps=3"], ["nun_steps"]),
        (["--config.training.num_steps=many"], ["num_steps", "many"]),
        (["--config.data.name=mnist"], ["mnist", "data_dir"]),
        (["--config.init_from=/no/such/run"], ["/no/such/run", "config.json"]),
    ],
)
def test_bad_settings(programs, tmp_path, flags, words):
    line = error_of(programs.train(tmp_path / "w", *SHORT, *flags, code=1))
    for word in words:
        assert word in line, line
    assert not (tmp_path / "w").exists(), "a mistake doesn't claim the workdir"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.name": "folder:/nowhere/at/all"}, "/nowhere/at/all"),
        ({"data.image_size": 9}, "9x9.*divisible by 2"),
        ({"family": "painting"}, "painting.*diffusion"),
        ({"model.schedule.name": "linear"}, "linear.*linear_beta"),
        ({"sampling.num_steps": "ddim999"}, "ddim999"),
        ({"data.batch_size": 15, "training.microbatches": 2}, "15.*16 equal pieces .2 microbatches"),
        ({"mesh.fsdp": 3}, "fsdp=3.*8 devices"),
    ],
)
def test_settings_that_do_not_fit(programs, tmp_path, settings, words):
    _refuses_to_train(programs, tmp_path, settings, words)


def test_folder_without_images(programs, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.md").write_text("no picture")
    settings = {"data.name": f"folder:{tmp_path / 'pictures'}"}
    _refuses_to_train(programs, tmp_path, settings, f"{tmp_path / 'pictures'} holds no images")


def test_missing_config_file(programs, tmp_path):
    line = error_of(programs.train(tmp_path / "w", config="configs/nothing.py", code=1))
    assert "configs/nothing.py" in line


def test_workdir_of_another_config_names_the_fields(programs, trained):
    line = error_of(programs.train(trained, *SHORT, "--config.seed=1", "--config.model.label_dropout=0.3", code=1))
    assert "seed: 0 there, 1 here" in line and "model.label_dropout: 0.1 there, 0.3 here" in line


def test_nan_stops_and_keeps_the_last_good_checkpoint(programs, tmp_path):
    flags = (
        *SHORT,
        "--config.optimizer.model.learning_rate=1e30",
        "--config.optimizer.model.clip_norm=0.0",
        "--config.optimizer.model.warmup_steps=0",
        "--config.optimizer.model.schedule=constant",
    )
    line = error_of(programs.train(tmp_path / "n", *flags, "--config.checkpoint.every=1", code=1))
    assert "not finite" in line and "step " in line and "Last good checkpoint: step 1" in line
    assert (tmp_path / "n" / "checkpoints" / "1").is_dir()


def test_sampling_errors(programs, trained, tmp_path):
    assert "no checkpoint" in error_of(programs.run("sample", f"--workdir={_empty(trained, tmp_path)}", code=1))
    assert "dpmpp_2m" in error_of(programs.run("sample", f"--workdir={trained}", "--sampler=magic", code=1))


def test_what_sampling_refuses_of_a_run(trained, tmp_path):
    with pytest.raises((ValueError, OSError), match="config.json"):
        stages.load(tmp_path)
    with pytest.raises(ValueError, match=r"no label 10.*0\.\.9"):
        images.draw(stages.load(trained), 1, label=10)


def _refuses_to_train(programs, tmp_path, settings, words):
    """In this process: the programs put such an error in one line (above)."""
    config = ddpm_digits.get_config("tiny")
    config.data.data_dir = str(programs.data_dir)
    config.update_from_flattened_dict(settings)
    with pytest.raises((ValueError, OSError), match=words):
        stages.train(config, tmp_path / "w")
    assert not (tmp_path / "w").exists(), "a mistake doesn't claim the workdir"


def _empty(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((trained / "config.json").read_text())
    return tmp_path / "empty"
