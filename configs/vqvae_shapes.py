"""VQ-VAE on drawn scenes of 32 pixels, `captioned_shapes`: 8x8 codes out of 256, for DALL-E to draw.

    python launch/train.py --config=configs/vqvae_shapes.py --workdir=runs/vqvae_shapes
    python launch/sample.py --workdir=runs/vqvae_shapes --reconstruct

Nine positions in ten are white and share a few codes, so a code starts anew only far below the mean size.

The variant "tiny" (`--config=configs/vqvae_shapes.py:tiny`) trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import codebooks, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = codebooks.vqvae()
    config.data.update(name="captioned_shapes/32", batch_size=32)
    config.model.update(width=32, num_res_blocks=2, res_width=32, data_variance=0.144)
    config.model.codebook.update(num_codes=256, dim=16, restart_threshold=0.02, decay=0.98)
    config.optimizer.model.update(learning_rate=3e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 3_000
    config.checkpoint.every = 1_000
    config.log.update(every=100, sample_every=1_000, eval_every=1_000)
    if variant == "tiny":
        config = codebooks.shrink(config)
        config.data.update(name="captioned_shapes/32", image_size=32, channels=3, batch_size=16)
    return config
