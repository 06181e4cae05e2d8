"""GLIDE's upsampler, fine-tuned to inpaint: 398,368,198 parameters, four more channels of its input.

    python launch/train.py --config=configs/glide_upsample_inpaint256.py --workdir=runs/glide_upsample_inpaint256 \
        --config.data.tokenizer.file=DIR/vocab.json --config.init_from=runs/glide_upsample256

`upsample-inpaint.pt` of the release fits it (`genjax.pretrained.glide`). The variant "tiny" trains in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import glides


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return glides.select(glides.inpainting(glides.upsampler()), variant)
