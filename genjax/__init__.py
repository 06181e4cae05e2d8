"""genjax: every family of image generator as pure JAX/Flax functions, trained by one sharded loop.

Import the piece that you need: `genjax.diffusion` alone loads jax and nothing else of this project.
"""

__version__ = "0.2.0"
