"""What Imagen's stages share (arXiv:2205.11487): the paper's recipe for its base and its super-resolution models."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, text_encoders, unets


def imagen() -> ConfigDict:
    """`common.diffusion()` with the fields of the imagen family and what all stages of the paper have.

    Continuous time, the cosine schedule, a tenth of the captions dropped, dynamic thresholding.
    """
    config = common.diffusion()
    config.family = "imagen"
    config.stages.text = ConfigDict({"workdir": ""})  # the frozen language model
    model = config.model
    model.schedule = ConfigDict({"name": "continuous_cosine"})
    model.text = ConfigDict()
    model.text.width = 512
    model.text.num_heads = 8
    model.text_dropout = 0.1
    config.sampling.threshold = ConfigDict({"name": "dynamic", "quantile": 0.995})
    return config


def paper(image_size: int) -> ConfigDict:
    """The data, precision and rhythm of the stages at the paper's size, on T5-XXL's states of 128 tokens.

    The paper's data is not public: COCO with its captions stands for it.
    """
    config = imagen()
    config.data.update(name="coco_captions", eval_split="val", image_size=image_size, batch_size=2048)
    config.data.tokenizer = text_encoders.t5("xxl").data.tokenizer
    config.model.dtype = "bfloat16"
    config.training.num_steps = 2_500_000
    config.training.ema.warmup = False
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    config.sampling.num_steps = "250"
    return config


def base64() -> ConfigDict:
    """The base at 64 pixels: ADM's U-Net of 512 channels, with text in all of its attention ("2B")."""
    config = paper(64)
    unets.network(
        config,
        width=512,
        channel_mult=(1, 2, 3, 4),
        num_res_blocks=3,
        attention_resolutions=(32, 16, 8),
        head_channels=64,
        adaptive_norm=True,
        resblock_updown=True,
        new_attention_order=True,
        time_scale=1000.0,
        remat=True,
    )
    config.model.text.width = 2048
    config.optimizer.model = common.adam(1e-4, name="adafactor", warmup_steps=10_000)
    config.sampling.guidance_scale = 1.35  # that of the paper's FID
    return config


def super_resolution(image_size: int) -> ConfigDict:
    """A model that upsamples to 256 or 1024 pixels from a quarter: the Efficient U-Net ("600M", "400M").

    That for 1024 is trained on crops of 256 pixels with the linear schedule, and attends to nothing but the text.

    Raises:
        ValueError: for another size.
    """
    if image_size not in (256, 1024):
        raise ValueError(f"the paper's super-resolution models make images of 256 or 1024 pixels, not {image_size}")
    last = image_size == 1024
    config = paper(image_size)
    efficient_network(
        config,
        width=128,
        channel_mult=(1, 2, 4, 8),
        num_res_blocks=(2, 4, 8, 8),
        attention_resolutions=(image_size // 16,),
        num_heads=8,
        text_only=last,
        time_scale=1.0 if last else 1000.0,
        remat=True,
    )
    config.model.low_res = common.low_res(image_size // 4, max_aug_level=1.0, crop_fraction=0.25 if last else 1.0)
    if last:
        config.model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000})
    config.optimizer.model = common.adam(1e-4, warmup_steps=10_000)
    config.sampling.aug_level = 0.2
    config.sampling.guidance_scale = 1.0 if last else 8.0
    return config


def efficient_network(config: ConfigDict, **fields) -> None:
    """Set the fields of an Efficient U-Net, all of them, so that each can be overridden.

    They are those of `genjax.nn.efficient_unet.EfficientUNet`.
    """
    config.model.network = ConfigDict({"name": "efficient_unet"})
    config.model.network.update(
        {
            "width": 128,
            "channel_mult": (1, 2, 4, 8),
            "num_res_blocks": (2, 4, 8, 8),
            "attention_resolutions": (),
            "text_only": False,  # attention is to the text's tokens alone
            "num_heads": 1,
            "head_channels": 0,  # channels a head; 0 = num_heads heads
            "dropout": 0.0,
            "adaptive_norm": True,
            "num_groups": 32,
            "time_scale": 1.0,  # the network sees t times this
            "remat": False,  # recompute blocks in the backward pass, to save memory
            **fields,
        }
    )


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister on `captioned_shapes` for "tiny".

    Raises:
        ValueError: for another variant.
    """
    common.expect_variant(variant)
    return tiny(config, 16) if variant == "tiny" else config


def tiny(config: ConfigDict, image_size: int) -> ConfigDict:
    """The same kind of network, objective and sampler, shrunk to images of `image_size` and a few steps."""
    config.data.update(name="captioned_shapes/32", eval_split="test", image_size=image_size, batch_size=16)
    config.data.tokenizer = common.bpe(vocab_size=300, length=16)
    model = config.model
    model.dtype = "float32"
    model.text.update(width=8, num_heads=2)
    model.network.update(width=8, channel_mult=(1, 1), num_groups=4, head_channels=8, remat=False)
    efficient = model.network.name == "efficient_unet"
    model.network.num_res_blocks = (1, 1) if efficient else 1
    model.network.attention_resolutions = (image_size // 4,) if efficient else (image_size // 2,)
    if model.low_res:
        model.low_res.update(size=image_size // 2, crop_fraction=max(0.5, model.low_res.crop_fraction))
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=5)
    config.training.num_steps = 20
    config.training.ema.decay = 0.9
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=8)
    config.sampling.update(num_steps="4", batch_size=8)
    return config
