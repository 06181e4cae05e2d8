"""GLIDE's base model of 64 pixels, the published "filtered" size: 385,030,726 parameters.

    python launch/train.py --config=configs/glide_base64.py --workdir=runs/glide_base64 \
        --config.data.tokenizer.file=DIR/vocab.json

`base.pt` of the release fits it (`genjax.pretrained.glide`). The variant "tiny" trains in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import glides


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return glides.select(glides.base(), variant)
