"""What DALL-E 2's configs share (unCLIP, arXiv:2204.06125, table 3): fields of its families, recipes, `tiny` variants.

What each field means is in `Settings` and `Sampling` of `genjax.families.clip_prior` and `clip_ar_prior`, and in
`genjax.families.dalle2`.

The pairs of images and captions that it was trained on are not public: `data.name` is a stand-in. The stage "clip"
has to be a CLIP, such as that of configs/clip_vit_l14.py, whose vocabulary `data.tokenizer.file` names too. With
launch/encode.py its embeddings of all images are written once, for `data.encoded`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, unets


def prior() -> ConfigDict:
    """`common.base()` with the fields of the clip_prior family; the stage "clip" has to be named."""
    config = _on_clip("clip_prior")
    config.model = model = ConfigDict()
    model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    model.network = _transformer()
    model.text_dropout = 0.1
    model.scale = 1.0
    model.fit_steps = 0
    model.dtype = "float32"
    config.sampling = sampling = ConfigDict()
    sampling.sampler = ConfigDict({"name": "ancestral"})
    sampling.num_steps = "64"
    sampling.threshold = ConfigDict({"name": "none"})
    sampling.guidance_scale = 1.0
    sampling.candidates = 2
    sampling.batch_size = 64
    return config


def ar_prior() -> ConfigDict:
    """`common.base()` with the fields of the clip_ar_prior family; the stage "clip" has to be named."""
    config = _on_clip("clip_ar_prior")
    config.model = model = ConfigDict()
    model.network = _transformer()
    model.num_axes = 319
    model.num_codes = 1024
    model.num_dots = 1024
    model.span = 4.0
    model.fit_steps = 100
    model.text_dropout = 0.1
    model.dtype = "float32"
    config.sampling = sampling = ConfigDict()
    sampling.guidance_scale = 1.0
    sampling.temperature = 1.0
    sampling.top_k = 0.0
    sampling.top_p = 1.0
    sampling.candidates = 2
    sampling.batch_size = 64
    return config


def _on_clip(family: str) -> ConfigDict:
    config = common.base()
    config.family = family
    config.stages.clip = ConfigDict({"workdir": ""})
    config.optimizer = ConfigDict({"model": common.adam(1e-4)})
    config.log.sample_every = 0  # priors draw embeddings
    return config


def _transformer() -> ConfigDict:
    return ConfigDict({"width": 2048, "depth": 24, "num_heads": 32, "dropout": 0.0, "remat": False})


def decoder() -> ConfigDict:
    """`common.diffusion()` with the fields of the dalle2 family; the stage "clip" has to be named."""
    config = common.diffusion()
    config.family = "dalle2"
    config.stages.clip = ConfigDict({"workdir": ""})
    config.model.text = text = ConfigDict()
    text.source = "own"
    text.width = 2048
    text.depth = 24
    text.num_heads = 32
    config.model.image = ConfigDict({"num_tokens": 4})
    config.model.text_dropout = 0.5
    config.model.image_dropout = 0.1
    return config


def paper_data(config: ConfigDict, image_size: int, batch_size: int) -> ConfigDict:
    """The data of the paper's stages, with CLIP's vocabulary; their crops are by the middle, as those of embeddings."""
    config.data.update(name="coco_captions", eval_split="val", image_size=image_size, batch_size=batch_size)
    config.data.tokenizer = common.clip("bpe_simple_vocab_16e6.txt.gz")
    config.checkpoint.every = 5_000
    config.log.eval_every = 5_000
    config.training.ema.warmup = False
    return config


def upsampler(image_size: int, low_res: int, width: int, channel_mult: tuple[int, ...], blocks: int) -> ConfigDict:
    """An upsampler of the paper: ADM without any attention or caption, trained on crops of a quarter of the side."""
    config = common.diffusion()
    config.data.update(name="coco_captions", eval_split="val", image_size=image_size)
    config.model.learned_variance = True
    config.model.dtype = "bfloat16"
    config.model.low_res = common.low_res(low_res, crop_fraction=0.25)
    unets.network(
        config, width=width, channel_mult=channel_mult, num_res_blocks=blocks, attention_resolutions=(),
        head_channels=64, adaptive_norm=True, resblock_updown=True, middle_attention=False, remat=True,
    )  # fmt: skip
    config.training.num_steps = 1_000_000
    config.training.ema.warmup = False
    config.sampling.sampler = ConfigDict({"name": "ddim"})
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    return config


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny": drawn scenes, in seconds.

    Raises:
        ValueError: for another variant.
    """
    return common.select(config, variant, _shrink)


def _shrink(config: ConfigDict) -> None:
    config.data.update(name="captioned_shapes/32", split="train", eval_split="test", image_size=32, batch_size=16)
    config.data.tokenizer = ConfigDict() if config.family == "diffusion" else common.bpe()
    model = config.model
    model.dtype = "float32"
    if config.family in ("clip_prior", "clip_ar_prior"):
        model.network.update(width=16, depth=1, num_heads=2, remat=False)
    else:
        config.data.image_size = 16
        model.network.update(width=8, channel_mult=(1, 2), num_res_blocks=1, num_groups=4, head_channels=0, num_heads=1)
        model.network.update(remat=False, attention_resolutions=(8,) if model.network.attention_resolutions else ())
        config.log.update(sample_every=20, num_samples=16)
    if config.family == "dalle2":
        model.text.update(width=16, depth=1, num_heads=2)
    if config.family == "clip_prior":
        model.fit_steps = min(4, model.fit_steps)
    if config.family == "clip_ar_prior":
        model.update(num_axes=4, num_codes=8, num_dots=8, fit_steps=4)
    if config.family == "diffusion":
        config.data.image_size = 32
        model.low_res.size = 16
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=0, b2=0.999)
    config.training.update(num_steps=20, microbatches=1)
    config.training.ema.decay = 0.9
    config.checkpoint.every = 10
    config.log.update(every=5, eval_every=20)
    config.sampling.batch_size = 16
    if "num_steps" in config.sampling:
        config.sampling.num_steps = "5"
