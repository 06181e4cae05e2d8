"""CLIP with a vision transformer B/16 (arXiv:2103.00020): 149,620,737 parameters.

    python launch/train.py --config=configs/clip_vit_b16.py --workdir=runs/clip_vit_b16 \\
        --config.data.tokenizer.file=DIR/bpe_simple_vocab_16e6.txt.gz

The variant "tiny" trains in seconds on drawn scenes, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import clips


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = clips.vit(patch_size=16, width=768, depth=12, dim=512, text_width=512)
    return clips.select(config, variant)
