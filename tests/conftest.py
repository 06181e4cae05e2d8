"""Shared by all tests: the CPU, eight fake devices, a compilation cache, datasets prepared once a session."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "xla"

jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
# The suite compiles much and computes little: without most optimizations it takes half the time.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the checkout."""
    return ROOT
