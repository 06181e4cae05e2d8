"""What the configs of CLIP share: fields of its family, which `genjax.families.clip.Settings` explains, towers and
recipes of the paper, and the `tiny` variant."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the release's training images, by channel, in [0, 1]."""


def clip() -> ConfigDict:
    """`common.base()` with the fields of the clip family; nothing is sampled."""
    config = common.base()
    config.family = "clip"
    config.model = model = ConfigDict()
    model.image = ConfigDict({"name": "vit"})
    model.text = ConfigDict()
    model.dim = 512
    model.schedule = ConfigDict()
    model.mean = (0.5,)
    model.std = (0.5,)
    model.temperature = 0.07
    model.dtype = "float32"
    config.optimizer = ConfigDict({"model": common.adam(5e-4)})
    config.log.sample_every = 0
    return config


def paper(dim: int, text_width: int, image_size: int = 224) -> ConfigDict:
    """CLIP on pairs of images and captions (arXiv:2103.00020, tables 18 to 20), but for its image tower.

    The 400 million pairs of the paper are not public: `data.name` is a stand-in, and `data.tokenizer.file` has to name
    the release's vocabulary. Batches of 32,768 for 32 epochs.
    """
    config = clip()
    config.data.update(name="coco_captions", eval_split="val", image_size=image_size, crop="random", batch_size=32_768)
    config.data.tokenizer = common.clip("bpe_simple_vocab_16e6.txt.gz")
    model = config.model
    model.dim = dim
    model.text = ConfigDict({"width": text_width, "depth": 12, "num_heads": text_width // 64, "remat": True})
    model.mean, model.std = MEAN, STD
    model.dtype = "bfloat16"
    config.optimizer.model = common.adam(
        5e-4, name="adamw", b2=0.98, eps=1e-6, weight_decay=0.2, warmup_steps=2_000, schedule="cosine"
    )
    config.training.num_steps = 390_625
    config.training.ema.decay = 0.0
    config.checkpoint.every = 5_000
    config.log.eval_every = 5_000
    return config


def vit(patch_size: int, width: int, depth: int, dim: int, text_width: int) -> ConfigDict:
    """`paper` with a vision transformer."""
    config = paper(dim, text_width)
    config.model.image.update(
        patch_size=patch_size, width=width, depth=depth, num_heads=width // 64, activation="quick_gelu", remat=True
    )
    return config


def resnet(width: int, depths: tuple[int, ...], image_size: int, dim: int, text_width: int) -> ConfigDict:
    """`paper` with the modified residual network, trained with Adam's usual b2 and eps."""
    config = paper(dim, text_width, image_size)
    config.model.image = ConfigDict({"name": "resnet", "width": width, "depths": depths, "num_heads": width // 2})
    config.optimizer.model.update(b2=0.999, eps=1e-8)
    return config


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config for a variant: "" or "tiny", the same kind of model on drawn scenes in seconds.

    Raises:
        ValueError: for another one.
    """
    return common.select(config, variant, _shrink)


def _shrink(config: ConfigDict) -> None:
    config.data.update(name="captioned_shapes/32", eval_split="test", image_size=32, crop="center", batch_size=16)
    config.data.tokenizer = common.bpe()
    model = config.model
    model.dim, model.dtype = 16, "float32"
    model.text = ConfigDict({"width": 16, "depth": 1, "num_heads": 2})
    if model.image.name == "resnet":
        model.image.update(width=8, depths=(1, 1), num_heads=4)
    else:
        model.image.update(patch_size=8, width=16, depth=1, num_heads=2, remat=False)
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=2)
    config.training.num_steps = 20
    config.checkpoint.every = 10
    config.log.update(every=5, eval_every=20)
