"""genjax: every family of image generator as pure JAX/Flax functions, trained by one sharded loop.

    run = genjax.load("runs/ddpm_digits")
    run.sample(16, label="3", guidance_scale=2, num_steps=25, sampler="ddim", seed=0)

Import the piece that you need: `genjax.diffusion` alone loads jax and nothing else of this project. What is offered
here is in `genjax.api`, which is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genjax.api import Images, Run, config, load, train

__version__ = "0.2.0"
__all__ = ["Images", "Run", "config", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("genjax.api"), name)
    raise AttributeError(f"module 'genjax' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
