"""DALL-E on drawn scenes, whole: the tokenizer, its codes, the transformer over text and codes, and samples.

    python launch/pipeline.py --config=configs/dalle_shapes_pipeline.py --workdir=runs/dalle
    python launch/sample.py --workdir=runs/dalle --prompt "a large blue ring at the top"

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import dalle_shapes, vqvae_shapes
from genjax.configs.recipes import pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    stages = {"tokenizer": vqvae_shapes.get_config(variant), "dalle": dalle_shapes.get_config(variant)}
    return pipelines.chain(stages, encode=("tokenizer",), samples=64)
