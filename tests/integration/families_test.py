"""Every family's own state comes back: a run that is resumed ends with the bits of the undisturbed one."""

import importlib
import shutil

import pytest

from genjax import stages
from genjax.training.checkpoint import Checkpoints


@pytest.mark.slow
@pytest.mark.parametrize("name", ["biggan_digits", "vqvae_digits"])
def test_resumed_is_undisturbed(name, data_dir, tmp_path):
    """Both optimizers, batch statistics and spectral vectors; the averages of a codebook."""
    config = importlib.import_module(f"configs.{name}").get_config("tiny")
    config.data.data_dir = str(data_dir)
    config.training.num_steps = 4
    config.checkpoint.update(every=2, keep=5)
    config.log.update(every=1, sample_every=0, eval_every=0)
    stages.train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "4")
    stages.train(config, tmp_path / "stopped")
    identities = []
    for folder in ("whole", "stopped"):
        checkpoints = Checkpoints(tmp_path / folder / "checkpoints")
        identities.append((checkpoints.identity(4), checkpoints.identity(2)))
        checkpoints.close()
    assert identities[0] == identities[1]
    after, before = identities[0]
    assert all(after[field] != before[field] for field in ("params", "opt_state", "extra"))
