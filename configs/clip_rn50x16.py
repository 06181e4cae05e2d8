"""CLIP with the modified ResNet-50 of 16 times the compute, at 384 pixels (arXiv:2103.00020): 290,979,217 parameters.

    python launch/train.py --config=configs/clip_rn50x16.py --workdir=runs/clip_rn50x16 \\
        --config.data.tokenizer.file=DIR/bpe_simple_vocab_16e6.txt.gz

The variant "tiny" trains in seconds on drawn scenes, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import clips


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = clips.resnet(width=96, depths=(6, 8, 18, 8), image_size=384, dim=768, text_width=768)
    config.optimizer.model.learning_rate = 4e-4
    return clips.select(config, variant)
