"""CLIP with the modified ResNet-50 (arXiv:2103.00020): 102,007,137 parameters.

    python launch/train.py --config=configs/clip_rn50.py --workdir=runs/clip_rn50 \\
        --config.data.tokenizer.file=DIR/bpe_simple_vocab_16e6.txt.gz

The variant "tiny" trains in seconds on drawn scenes, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import clips


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = clips.resnet(width=64, depths=(3, 4, 6, 3), image_size=224, dim=1024, text_width=512)
    return clips.select(config, variant)
