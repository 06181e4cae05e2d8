"""A cascade on drawn scenes, 16 -> 32 -> 64 pixels: an unconditional DDPM and two super-resolution models.

    python launch/pipeline.py --config=configs/cascade_shapes_pipeline.py --workdir=runs/cascade_shapes
    python launch/sample.py --workdir=runs/cascade_shapes --num_samples=64

The scenes have captions and no classes; what is drawn is left to chance here.
"""

from ml_collections import ConfigDict

from genjax.configs import cascade_digits_pipeline as cascade_digits
from genjax.configs.recipes import common, pipelines, unets


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    return pipelines.cascade(
        {"base": base(variant), "up32": upsampler(32, variant), "up64": upsampler(64, variant)}, samples=64
    )


def base(variant: str = "") -> ConfigDict:
    """The config of the stage that draws scenes of 16 pixels; `variant` is "" or "tiny"."""
    config = common.diffusion()
    config.data.update(name="captioned_shapes/32", image_size=16, batch_size=32)
    draw(config)
    config.model.schedule.name = "cosine"
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=200, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 5_000
    config.training.ema.decay = 0.999
    config.checkpoint.every = 1_000
    config.log.update(every=100, sample_every=1_000, eval_every=1_000, num_samples=64)
    config.sampling.sampler.name = "dpmpp_2m"
    config.sampling.num_steps = "25"
    config.sampling.batch_size = 64
    if variant == "tiny":
        _shrink(config)
    return config


def upsampler(image_size: int, variant: str = "") -> ConfigDict:
    """The config of the stage that upsamples scenes to `image_size` from half of that; `variant` is "" or "tiny"."""
    config = cascade_digits.upsampler(image_size, variant)
    config.data.update(name=f"captioned_shapes/{image_size}", channels=3)
    upsample(config)
    config.sampling.batch_size = 64
    if variant == "tiny":
        return config
    last = image_size == 64
    config.data.batch_size = 16 if last else 32
    config.model.network.width = 16 if last else 32
    config.training.num_steps = 2_000
    config.log.update(sample_every=1_000, eval_every=1_000, num_samples=32)
    return config


def draw(config: ConfigDict, **network) -> None:
    """Set what all models have that draw scenes of 16 pixels: a U-Net over patches of 2x2 pixels, which predicts v."""
    unets.network(
        config, width=64, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(8, 4), head_channels=32,
        adaptive_norm=True, num_groups=8, patch_size=2, **network,
    )  # fmt: skip
    config.model.parameterization.name = config.model.weighting.name = "v"


def read_and_draw(config: ConfigDict) -> None:
    """Set what all models have that draw scenes of 16 pixels and learn to read their captions on the way.

    Colours and shapes are decided where sigma / alpha is between .5 and 4, in 55% of the times of the cosine schedule.
    The linear one, with predictions of x0, is slower to learn them: a third of captions of one object wrong after 6,000
    steps.
    """
    draw(config)
    model = config.model
    model.schedule.name = "cosine"
    # Layout is drawn at high noise: half of the times have twice as much noise as image, or more.
    model.time_sampler = ConfigDict({"name": "lognormal", "mean": 0.7, "std": 1.2})
    model.text.update(width=128, depth=2, num_heads=4)
    model.text_dropout = 0.1
    config.optimizer.model.update(learning_rate=1.5e-3, b2=0.99, warmup_steps=200, clip_norm=1.0, schedule="cosine")


def upsample(config: ConfigDict) -> None:
    """Set what all models have that upsample scenes, and read a low-resolution image: `config.model.low_res`.

    What they are to draw is all but known, so they predict x0, with its plain error: nothing is spent on copying noise.
    """
    config.model.parameterization.name = config.model.weighting.name = "x0"
    config.model.low_res.max_aug_level = 0.2  # more noise hides the shape of what is small
    config.sampling.aug_level = 0.05


def _shrink(config: ConfigDict) -> None:
    config.data.batch_size = 16
    small = {"width": 8, "channel_mult": (1, 1), "attention_resolutions": (8,), "head_channels": 8, "num_groups": 4}
    config.model.network.update(small)
    config.training.num_steps = 20
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
    config.sampling.num_steps = "5"
    config.sampling.batch_size = 20
