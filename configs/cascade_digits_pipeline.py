"""A cascade on the digits, 8 -> 16 -> 32 pixels: a class-conditional DDPM and two super-resolution models.

    python launch/pipeline.py --config=configs/cascade_digits_pipeline.py --workdir=runs/cascade_digits
    python launch/sample.py --workdir=runs/cascade_digits --num_samples=100 --label=7
    python launch/sample.py --workdir=runs/cascade_digits/up32 --reconstruct   # real digits made small, and upsampled

The digits have 8x8 pixels; larger ones are the same, upsampled by the loader (bicubic), which is what the two have to
learn. They don't see the class. Each is trained on images of the right kind but for the noise on them, whose level
is an input; sampling uses .1, a standard deviation of .16.
"""

from ml_collections import ConfigDict

from genjax.configs import ddpm_digits
from genjax.configs.recipes import common, pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    return pipelines.cascade(
        {
            "base": ddpm_digits.get_config(variant),
            "up16": upsampler(16, variant),
            "up32": upsampler(32, variant),
        }
    )


def upsampler(image_size: int, variant: str = "") -> ConfigDict:
    """The config of the stage that upsamples digits to `image_size` from half of that; `variant` is "" or "tiny"."""
    config = common.diffusion()
    config.data.update(name="digits", image_size=image_size, channels=1, batch_size=32)
    model = config.model
    model.schedule.name = "cosine"
    model.parameterization.name = "v"
    model.weighting.name = "v"
    model.low_res = common.low_res(image_size // 2, max_aug_level=0.5, crop_fraction=16 / image_size)
    model.network.update(
        width=16, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(), num_groups=8, adaptive_norm=True
    )
    config.optimizer.model.update(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 1_000
    config.training.ema.decay = 0.995
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=500, num_samples=50)
    config.sampling.sampler.name = "dpmpp_2m"
    config.sampling.num_steps = "10"
    config.sampling.batch_size = 100
    config.sampling.aug_level = 0.1
    if variant == "tiny":
        config.data.batch_size = 16
        model.network.update(width=8, num_groups=4)
        config.training.num_steps = 20
        config.checkpoint.every = 10
        config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
        config.sampling.num_steps = "3"
        config.sampling.batch_size = 20
    return config
