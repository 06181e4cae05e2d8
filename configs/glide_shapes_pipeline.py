"""GLIDE on drawn scenes: a base model of 16 pixels that reads captions, and an upsampler to 32 that reads them too.

    python launch/pipeline.py --config=configs/glide_shapes_pipeline.py --workdir=runs/glide
    python launch/sample.py   --workdir=runs/glide --prompt "a large red heart in the top left"

Both are small U-Nets over patches of 2x2 pixels, which takes a quarter of the work. The variant "tiny" trains in
seconds, for tests. `configs/glide_inpaint_shapes.py` goes on from the base.
"""

from ml_collections import ConfigDict

from genjax.configs import cascade_shapes_pipeline as cascade_shapes
from genjax.configs.recipes import common, glides, pipelines, unets


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return pipelines.cascade({"base": base(variant), "up32": upsampler(variant)}, samples=64 if not variant else 16)


def base(variant: str = "") -> ConfigDict:
    """The config of the stage that draws scenes of 16 pixels; `variant` is "" or "tiny"."""
    config = _stage(16, batch_size=32)
    cascade_shapes.read_and_draw(config)
    config.training.num_steps = 6_000
    config.sampling.num_steps = "25"
    config.sampling.guidance_scale = 3.0
    return glides.select(config, variant)


def upsampler(variant: str = "") -> ConfigDict:
    """The config of the stage that upsamples scenes from 16 to 32 pixels; `variant` is "" or "tiny"."""
    config = _stage(32, batch_size=16)
    unets.network(
        config, width=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(8,), num_heads=4,
        adaptive_norm=True, num_groups=8, patch_size=2,
    )  # fmt: skip
    config.model.low_res = common.low_res(16)
    cascade_shapes.upsample(config)
    config.model.time_sampler.name = "stratified"
    config.model.text.update(width=64, depth=2, num_heads=4)
    config.model.text_dropout = 0.0
    config.optimizer.model.learning_rate = 1e-3
    config.training.num_steps = 3_000
    config.sampling.num_steps = "10"
    return glides.select(config, variant, 32)


def _stage(image_size: int, batch_size: int) -> ConfigDict:
    """What both have: captions as tokens, the cosine schedule, Adam with a cosine decay."""
    config = glides.glide()
    config.data.update(name="captioned_shapes/32", image_size=image_size, batch_size=batch_size)
    config.data.tokenizer = common.bpe(vocab_size=512, length=14)
    config.model.schedule.name = "cosine"
    config.optimizer.model.update(warmup_steps=200, clip_norm=1.0, schedule="cosine")
    config.training.ema.decay = 0.998
    config.checkpoint.every = 1_000
    config.log.update(every=100, sample_every=2_000, eval_every=2_000, num_samples=32)
    config.sampling.sampler.name = "dpmpp_2m"
    config.sampling.batch_size = 100
    return config
