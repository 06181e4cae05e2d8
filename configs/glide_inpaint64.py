"""GLIDE's base model, fine-tuned to inpaint: 385,037,638 parameters, four more channels of its input.

    python launch/train.py --config=configs/glide_inpaint64.py --workdir=runs/glide_inpaint64 \
        --config.data.tokenizer.file=DIR/vocab.json --config.init_from=runs/glide_base64
    python launch/sample.py --workdir=runs/glide_inpaint64 --prompt "a corgi in a field" --inpaint=IMAGE:MASK

`base-inpaint.pt` of the release fits it (`genjax.pretrained.glide`). The variant "tiny" trains in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import glides


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return glides.select(glides.inpainting(glides.base()), variant)
