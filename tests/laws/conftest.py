"""Laws are held in float64."""

import jax
import pytest


@pytest.fixture(autouse=True)
def float64():
    """Every test of this folder computes in float64."""
    with jax.enable_x64(True):
        yield
