"""CLIP of drawn scenes at 32 pixels and their captions: a few minutes on one core of a laptop.

    python launch/train.py --config=configs/clip_shapes.py --workdir=runs/clip_shapes
    python launch/evaluate.py --workdir=runs/clip_shapes      # the right caption among 100

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import clips, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = clips.clip()
    config.data.update(name="captioned_shapes/32", image_size=32, batch_size=128)
    config.data.tokenizer = common.bpe()
    model = config.model
    model.dim = 128
    model.image.update(patch_size=8, width=96, depth=3, num_heads=4)
    model.text.update(width=96, depth=2, num_heads=4, table_std=1.0)
    config.optimizer.model = common.adam(
        1e-3, name="adamw", weight_decay=0.1, warmup_steps=100, clip_norm=1.0, schedule="cosine"
    )
    config.training.num_steps = 1_500
    config.training.ema.decay = 0.99
    config.checkpoint.every = 500
    config.log.update(every=50, eval_every=500)
    return clips.select(config, variant)
