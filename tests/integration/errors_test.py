"""What goes wrong is told in one clear line, with a non-zero exit."""

import pytest

from genjax import stages
from genjax.configs import ddpm_digits
from genjax.pipelines import sampling as sampling_lib
from genjax.training import workdir
from tests.integration import small
from tests.integration.conftest import SHORT, SHORT_SETTINGS


def error_of(output):
    """The one line that says what is wrong; nothing may look like a traceback."""
    assert "Traceback" not in output, output
    lines = [line for line in output.splitlines() if "error" in line.lower()]
    assert len(lines) == 1, output
    return lines[0]


def test_a_program_ends_with_one_line(programs, tmp_path):
    line = error_of(programs.train(tmp_path / "w", *SHORT, "--config.init_from=/no/such/run", code=1))
    assert "/no/such/run" in line and "config.json" in line, line
    assert not (tmp_path / "w").exists(), "a mistake doesn't claim the workdir"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.name": "folder:/nowhere/at/all"}, "/nowhere/at/all"),
        ({"data.name": "mnist"}, "mnist.*data_dir"),
        ({"data.image_size": 9}, "9x9.*divisible by 2"),
        ({"family": "painting"}, "painting.*diffusion"),
        ({"model.schedule.name": "linear"}, "linear.*linear_beta"),
        ({"sampling.num_steps": "ddim999"}, "ddim999"),
        ({"data.batch_size": 15, "training.microbatches": 2}, "15.*16 equal parts .2 microbatches"),
        ({"mesh.fsdp": 3}, "fsdp=3.*8 devices"),
    ],
)
def test_settings_that_do_not_fit(programs, tmp_path, settings, words):
    _refuses_to_train(programs, tmp_path, settings, words)


def test_folder_without_images(programs, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.md").write_text("no image")
    settings = {"data.name": f"folder:{tmp_path / 'images'}"}
    _refuses_to_train(programs, tmp_path, settings, f"{tmp_path / 'images'} holds no images")


def test_workdir_of_another_config_names_the_fields(programs, trained, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(programs.data_dir))
    config = workdir.read_config(trained)
    config.update_from_flattened_dict({"seed": 1, "model.label_dropout": 0.3})
    with pytest.raises(ValueError) as refused:
        stages.train(config, trained)
    assert "seed: 0 there, 1 here" in str(refused.value)
    assert "model.label_dropout: 0.1 there, 0.3 here" in str(refused.value)


def test_nan_stops_and_keeps_the_last_good_checkpoint(programs, tmp_path):
    optimizer = {"learning_rate": 1e30, "clip_norm": 0.0, "warmup_steps": 0, "schedule": "constant"}
    settings = {**SHORT_SETTINGS, **{f"optimizer.model.{name}": value for name, value in optimizer.items()}}
    config = small.get_config()
    config.data.data_dir = str(programs.data_dir)
    config.update_from_flattened_dict({**settings, "checkpoint.every": 1})
    with pytest.raises(ValueError, match=r"step \d+.*not finite.*Last good checkpoint: step 1"):
        stages.train(config, tmp_path / "n")
    assert (tmp_path / "n" / "checkpoints" / "1").is_dir()


def test_what_sampling_refuses_of_a_run(trained, tmp_path):
    with pytest.raises((ValueError, OSError), match="config.json"):
        stages.load(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint"):
        stages.load(_empty(trained, tmp_path))
    with pytest.raises(ValueError, match="dpmpp_2m"):
        sampling_lib.draw(stages.load(trained, sampling={"sampler": {"name": "magic"}}), 1)
    with pytest.raises(ValueError, match=r"no label 10.*0\.\.9"):
        sampling_lib.draw(stages.load(trained), 1, label=10)


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
