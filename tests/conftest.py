"""Shared by all tests: the CPU, eight fake devices, a compilation cache, datasets prepared once a session."""

import json
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # XLA's emitters of fused loops go through MLIR: without them a program compiles in a third of the time.
    "--xla_cpu_use_fusion_emitters=false",
    # A program in one piece, not cut into 32 for as many threads: four fifths of the processor time.
    "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from flax.core import Scope, meta  # noqa: E402

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "xla"

jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
# The suite compiles much and computes little: without most optimizations it takes half the time.
jax.config.update("jax_disable_most_optimizations", True)

_param = Scope.param


def _stored_param(self, name, init_fn, *args, unbox=True, **kwargs):
    """A parameter as Flax gives it, which traces its initial value at each use, to compare shapes with what is stored.

    That is an eighth of the suite's time. An initializer is called with the shape that it gives, so that is compared.
    """
    stored = self.get_variable("params", name) if self.has_variable("params", name) else None
    shape = tuple(args[0]) if args and isinstance(args[0], (tuple, list)) else None
    if stored is None or np.shape(meta.unbox(stored)) != shape:
        return _param(self, name, init_fn, *args, unbox=unbox, **kwargs)
    self.reserve(name, "params")
    return meta.unbox(stored) if unbox else stored


Scope.param = _stored_param


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> str:
    """A data folder of this session's own, where embedded datasets are built on first use."""
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory) -> Path:
    """A folder of 24 drawn scenes of 16 pixels a split with their captions: data that takes no time to build."""
    from PIL import Image

    from genjax.data.builders import scenes

    root = tmp_path_factory.mktemp("drawn")
    for split in ("train", "test"):
        folder = root / split
        folder.mkdir()
        lines = []
        for index in range(24):
            scene = scenes.make_scene(split, index)
            Image.fromarray(scenes.render(scene, 16)).save(folder / f"{index:02d}.png")
            lines.append(json.dumps({"file_name": f"{index:02d}.png", "text": scene.caption}))
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    return root
