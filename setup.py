"""genjax: every family of image generator, as pure JAX/Flax functions."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PROGRAMS = ("train", "sample", "evaluate", "pipeline", "convert", "encode", "plan")
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "genjax/__init__.py").read_text())[1]

DOCS = [
    "mkdocs>=1.6,<2",
    "mkdocs-gen-files>=0.6",
    "mkdocs-literate-nav>=0.6.3",
    "mkdocs-material>=9.8",
    "mkdocstrings>=1.0.8",
    "mkdocstrings-python>=2.0.11",
]
TYPES = ["mypy>=2.4"]
TEST = ["beartype>=0.23", "pytest>=9.2", "pytest-xdist>=3.8", "ruff>=0.17"]
CONFIGS = find_packages(include=["configs", "configs.*"])

setup(
    name="genjax-images",  # "genjax" on PyPI is another project
    version=VERSION,
    description="Every family of image generator, as pure JAX/Flax functions",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # In a checkout configs/ lies at the top, installed it is a part of genjax: other projects have a "configs" too.
    packages=[*find_packages(include=["genjax", "genjax.*"]), *(f"genjax.{name}" for name in CONFIGS)],
    package_dir={"genjax.configs": "configs"},
    package_data={"genjax": ["py.typed"]},
    entry_points={"console_scripts": [f"genjax-{name} = genjax.launcher.{name}:run" for name in PROGRAMS]},
    install_requires=[
        "absl-py>=2.5",
        "array_record>=0.8.6",
        "chex>=0.1.92",
        "flax>=0.12.8",
        "grain>=0.2.18",
        "importlib_resources>=7.1",
        "jax>=0.10.2",
        "jaxtyping>=0.3.11",
        "ml-collections>=1.1",
        "numpy>=2.4",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "pillow>=13.0",
        "safetensors>=0.8",
        "scikit-learn>=1.9",
        "tensorboardX>=2.6.5",
        "tensorflow-datasets>=4.9.10",
        "tokenizers>=0.23.1",
        "tqdm>=4.70",
    ],
    extras_require={
        "test": TEST,
        "docs": DOCS,
        "types": TYPES,
        "dev": [*TEST, *DOCS, *TYPES, "pre-commit>=4.6"],
        "text": ["sentencepiece>=0.2.3"],
        "parity": ["torch>=2.13", "diffusers>=0.42", "transformers>=5.23"],
        "colab": ["ipywidgets>=8.1", "matplotlib>=3.10"],
    },
)
