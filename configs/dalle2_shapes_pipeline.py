"""DALL-E 2 on drawn scenes: CLIP, a prior over its embeddings, a decoder at 16 pixels, an upsampler to 32.

    python launch/pipeline.py --config=configs/dalle2_shapes_pipeline.py --workdir=runs/dalle2
    python launch/sample.py   --workdir=runs/dalle2 --prompt "a large red heart in the top left"
    python launch/sample.py   --workdir=runs/dalle2 --variations=image.png:1

The variant "ar" has the autoregressive prior instead of the diffusion prior; "tiny" and "ar_tiny" train in seconds, for
tests. CLIP's embeddings of all images, at 32 pixels, are written once, for prior and decoder.
"""

from ml_collections import ConfigDict

from genjax.configs import cascade_shapes_pipeline as cascade_shapes
from genjax.configs import clip_shapes
from genjax.configs.recipes import common, dalle2s, pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "ar", "tiny" or "ar_tiny"."""
    common.expect_variant(variant, "ar", "ar_tiny")
    size = "tiny" if variant.endswith("tiny") else ""
    stages = {
        "clip": clip_shapes.get_config(size),
        "prior": ar_prior(size) if variant.startswith("ar") else prior(size),
        "decoder": decoder(size),
        "up32": cascade_shapes.upsampler(32, size),  # conditioned on nothing but the low-resolution image
    }
    sampled = ("prior", "decoder", "up32")
    return pipelines.chain(stages, encode=("clip",), samples=16 if size else 64, sampling="dalle2", cascade=sampled)


def prior(variant: str = "") -> ConfigDict:
    """The config of the diffusion prior; `variant` is "" or "tiny"."""
    config = _prior(dalle2s.prior())
    config.model.network.update(width=96, depth=3, num_heads=4)
    config.model.fit_steps = 50
    config.training.num_steps = 2_000
    config.sampling.threshold = ConfigDict({"name": "static", "low": -5.0, "high": 5.0})
    config.sampling.guidance_scale = 2.0
    return dalle2s.select(config, variant)


def ar_prior(variant: str = "") -> ConfigDict:
    """The config of the autoregressive prior; `variant` is "" or "tiny"."""
    config = _prior(dalle2s.ar_prior())
    config.model.network.update(width=96, depth=3, num_heads=4)
    config.model.update(num_axes=32, num_codes=32, num_dots=64, span=3.0, fit_steps=50)
    config.training.num_steps = 1_500
    config.sampling.guidance_scale = 2.0
    return dalle2s.select(config, variant)


def _prior(config: ConfigDict) -> ConfigDict:
    config.data.update(name="captioned_shapes/32", image_size=32, batch_size=128)
    config.data.tokenizer = common.bpe()
    config.optimizer.model = common.adam(
        1e-3, name="adamw", b2=0.96, weight_decay=0.06, warmup_steps=100, clip_norm=1.0, schedule="cosine"
    )
    config.training.ema.decay = 0.995
    config.checkpoint.every = 1_000
    config.log.update(every=100, eval_every=1_000)
    config.sampling.batch_size = 100
    return config


def decoder(variant: str = "") -> ConfigDict:
    """The config of the decoder, which draws scenes of 16 pixels; `variant` is "" or "tiny"."""
    config = dalle2s.decoder()
    config.data.update(name="captioned_shapes/32", image_size=16, batch_size=32)
    config.data.tokenizer = common.bpe()
    cascade_shapes.read_and_draw(config)
    config.model.image_dropout = 0.5
    config.training.num_steps = 5_000
    config.training.ema.decay = 0.998
    config.checkpoint.every = 1_000
    config.log.update(every=100, sample_every=2_000, eval_every=2_000, num_samples=32)
    config.sampling.sampler.name = "dpmpp_2m"
    config.sampling.num_steps = "25"
    config.sampling.guidance_scale = 1.5
    config.sampling.batch_size = 100
    return dalle2s.select(config, variant)
