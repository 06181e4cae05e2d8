"""Where a run starts: its own checkpoint before `init_from`, and that before scratch."""

import numpy as np
import pytest

from tests.integration.conftest import SHORT
from tests.integration.resume_test import contents


@pytest.mark.slow
def test_init_from_takes_the_averages_and_is_not_requested_twice(programs, trained, tmp_path):
    still = (*SHORT, f"--config.init_from={trained}", "--config.optimizer.model.learning_rate=0.0")
    programs.train(tmp_path / "w", *still, "--config.training.num_steps=1")
    source, arrays = contents(trained)[0], contents(tmp_path / "w", step=1)[0]
    names = [name for name in arrays if name.startswith("['params']")]
    assert len(names) > 20
    for name in names:
        np.testing.assert_array_equal(arrays[name], source[name.replace("['params']", "['ema']", 1)])
    gone = "--config.init_from=/no/longer/there"
    output = programs.train(tmp_path / "w", *still, gone, "--config.training.num_steps=2")
    assert "resuming at step 1" in output
