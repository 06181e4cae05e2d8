"""genjax: every family of image generator, as pure JAX/Flax functions."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "genjax/__init__.py").read_text())[1]

TEST = ["beartype>=0.22", "pytest>=9.0", "ruff>=0.15"]

setup(
    name="genjax",
    version=VERSION,
    description="Every family of image generator, as pure JAX/Flax functions",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["genjax", "genjax.*", "configs"]),
    install_requires=[
        "absl-py>=2.3",
        "array_record>=0.8",
        "chex>=0.1.91",
        "flax>=0.12.5",
        "grain>=0.2.15",
        "importlib_resources>=6.5",
        "jax>=0.10",
        "jaxtyping>=0.3.5",
        "ml-collections>=1.1",
        "numpy>=2.1",
        "optax>=0.2.7",
        "orbax-checkpoint>=0.12",
        "pillow>=12.0",
        "scikit-learn>=1.8",
        "tensorboardX>=2.6.4",
        "tensorflow-datasets>=4.9.9",
        "tqdm>=4.67",
    ],
    extras_require={
        "test": TEST,
        "parity": ["torch>=2.9", "diffusers>=0.36", "transformers>=5.0"],
        "colab": ["ipywidgets>=8.1", "matplotlib>=3.10"],
    },
)
