"""CLIP with a vision transformer L/14 (arXiv:2103.00020): 427,616,513 parameters.

    python launch/train.py --config=configs/clip_vit_l14.py --workdir=runs/clip_vit_l14 \\
        --config.data.tokenizer.file=DIR/bpe_simple_vocab_16e6.txt.gz

The variant "tiny" trains in seconds on drawn scenes, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import clips


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = clips.vit(patch_size=14, width=1024, depth=24, dim=768, text_width=768)
    config.optimizer.model.learning_rate = 4e-4
    return clips.select(config, variant)
