"""The tiny variant of every config trains, evaluates and draws its grid in this process: a tour of the whole house."""

import importlib
from pathlib import Path

import pytest

from genjax import stages
from genjax.pipelines import chain

CONFIGS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs").glob("*_*.py"))


def shorten(config, data_dir):
    config.data.data_dir = str(data_dir)
    config.training.num_steps = 2
    config.checkpoint.every = 2
    config.log.update(every=1, eval_every=2)
    if config.log.sample_every:
        config.log.update(sample_every=2, num_samples=8)
    return config


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_tiny(name, data_dir, tmp_path):
    config = importlib.import_module(f"configs.{name}").get_config("tiny")
    if "order" in config:
        for stage in config.stages.values():
            shorten(stage, data_dir)
        config.samples = 8
        assert chain.run(config, tmp_path).is_file()
    elif any(not parent.workdir for parent in config.stages.values()):  # its pipeline is in the list too
        with pytest.raises(ValueError, match="workdir is empty: name the run that this one builds on"):
            stages.train(shorten(config, data_dir), tmp_path)
    else:
        stages.train(shorten(config, data_dir), tmp_path)
        assert (tmp_path / "checkpoints" / "2").is_dir()
        assert (tmp_path / "samples" / "step_2.png").is_file() or not config.log.sample_every
