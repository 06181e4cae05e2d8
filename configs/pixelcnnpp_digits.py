"""Class-conditional PixelCNN++ on scikit-learn's 1,797 real 8x8 digits: minutes on a laptop.

    python launch/train.py --config=configs/pixelcnnpp_digits.py --workdir=runs/pixelcnnpp_digits
    python launch/sample.py --workdir=runs/pixelcnnpp_digits --num_samples=1000

The images have 17 of the 256 levels, 16 or so apart, so bits/dim here, over all 256, can't be compared with those of
photographs: a uniform guess among the 17 has log2(17) = 4.09. Variants: "unconditional", and "tiny", which trains
in seconds.
"""

from genjax.configs.recipes import common, pixelcnnpps


def get_config(variant: str = ""):
    """The config; `variant` is "", "unconditional" or "tiny"."""
    common.expect_variant(variant, "unconditional")
    config = pixelcnnpps.pixelcnnpp()
    config.data.update(name="digits", image_size=8, channels=1, batch_size=32)
    config.model.conditional = variant != "unconditional"
    config.model.network.update(width=32, num_res_blocks=1, num_levels=2, dropout=0.5)
    config.optimizer.model.update(learning_rate=2e-3, warmup_steps=50, schedule="cosine", clip_norm=1.0)
    config.training.num_steps = 2_000
    config.training.ema.update(decay=0.995, warmup=True)
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=250, num_samples=100)
    config.sampling.batch_size = 250
    return pixelcnnpps.tiny(config) if variant == "tiny" else config
