"""GLIDE's noisy CLIP at 64 pixels (arXiv:2112.10741, section 4.3), of the released size: 86.4M and 71.7M parameters.

    python launch/train.py --config=configs/clip_noisy_glide.py --workdir=runs/clip_noisy_glide \\
        --config.data.tokenizer.file=DIR/bpe_simple_vocab_16e6.txt.gz

It guides models of 64 pixels with the cosine schedule of 1000 steps. Architecture and vocabulary size of the release,
whose tables have 65,536 rows though fewer tokens are in use; its recipe isn't published, this is CLIP's. The variant
"tiny" trains in seconds on drawn scenes, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import clips


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = clips.vit(patch_size=4, width=768, depth=12, dim=512, text_width=512)
    config.data.image_size = 64
    model = config.model
    model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    model.image.update(activation="gelu", time="table", num_times=1000)
    model.text.update(activation="gelu", vocab_size=65_536)
    return clips.select(config, variant)
