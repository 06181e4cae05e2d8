"""GLIDE's upsampler, 64 -> 256 pixels, the published "filtered" size: 398,361,286 parameters.

    python launch/train.py --config=configs/glide_upsample256.py --workdir=runs/glide_upsample256 \
        --config.data.tokenizer.file=DIR/vocab.json

`upsample.pt` of the release fits it (`genjax.pretrained.glide`). The variant "tiny" trains in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import glides


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return glides.select(glides.upsampler(), variant)
