"""What GLIDE's configs share (arXiv:2112.10741): the fields of the family, one recipe, and the `tiny` variant of all.

Sizes and schedules are those of the published "filtered" models, github.com/openai/glide-text2im. How these were
trained was not published: steps and batches are those of the paper's larger model, the learning rate is ADM's. Their
data, images with captions from the internet, isn't public either: `data.name` is a stand-in. The vocabulary is
GPT-2's, whose files `data.tokenizer.file` has to name.
"""

from functools import partial

from ml_collections import ConfigDict

from genjax.configs.recipes import common, unets

MULTIPLIERS = {64: (1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4)}
"""Channels of each level, by the images' size."""


def glide() -> ConfigDict:
    """`common.diffusion()` with the fields of `genjax.families.glide.Settings`."""
    config = common.diffusion()
    config.family = "glide"
    config.model.text = text = ConfigDict()
    text.width = 512
    text.depth = 16
    text.num_heads = 8
    config.model.text_dropout = 0.2
    return config


def base(image_size: int = 64) -> ConfigDict:
    """The base model: cosine schedule, 1000 steps, learned variance, guidance of scale 3 in 100 steps."""
    config = glide()
    config.data.update(name="coco_captions", eval_split="val", image_size=image_size, crop="random", batch_size=2048)
    config.data.tokenizer = common.gpt2("vocab.json", length=128)
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    config.model.learned_variance = True
    config.model.dtype = "bfloat16"
    unets.network(
        config, width=192, channel_mult=MULTIPLIERS[image_size], num_res_blocks=3, attention_resolutions=(32, 16, 8),
        head_channels=64, dropout=0.1, adaptive_norm=True, resblock_updown=True,
    )  # fmt: skip
    config.optimizer.model = common.adam(1e-4)
    config.training.num_steps = 2_500_000
    config.training.ema.warmup = False
    config.sampling.sampler = ConfigDict({"name": "ancestral", "variance": "learned_range"})
    config.sampling.num_steps = "100"
    config.sampling.guidance_scale = 3.0
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    return config


def upsampler(image_size: int = 256, low_res: int = 64) -> ConfigDict:
    """The upsampler: it sees the text as well, has a linear schedule, and draws without guidance, by DDIM in 27 steps
    from noise a little too weak."""
    config = base(image_size)
    config.data.batch_size = 512
    config.model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000})
    config.model.low_res = common.low_res(low_res)
    config.model.text_dropout = 0.0
    config.model.network.update({"num_res_blocks": 2, "remat": True})
    config.training.num_steps = 1_600_000
    config.sampling.sampler = ConfigDict({"name": "ddim"})
    config.sampling.num_steps = "fast27"
    config.sampling.guidance_scale = 1.0
    config.sampling.noise_scale = 0.997
    return config


def inpainting(config: ConfigDict) -> ConfigDict:
    """A model that is fine-tuned to fill in what is erased, from the run that `init_from` has to name."""
    config.model.inpaint = common.inpaint()
    config.training.num_steps = 100_000
    return config


def select(config: ConfigDict, variant: str, tiny_size: int = 16) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny": scenes of `tiny_size` pixels, in seconds.

    Raises:
        ValueError: for another variant.
    """
    return common.select(config, variant, partial(_shrink, size=tiny_size))


def _shrink(config: ConfigDict, size: int) -> None:
    config.data.update(name="captioned_shapes/32", split="train", eval_split="test", image_size=size, batch_size=16)
    config.data.update(crop="center", flip=False)
    config.data.tokenizer = common.bpe(vocab_size=300)
    model = config.model
    if model.low_res:
        model.low_res.size = size // 2
    model.network.update(width=8, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(8,), num_groups=4)
    model.network.update(head_channels=0, num_heads=1, dropout=0.0, remat=False, patch_size=size // 16)
    model.text.update(width=16, depth=2, num_heads=2)
    model.dtype = "float32"
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=0)
    config.training.update(num_steps=20, microbatches=1)
    config.training.ema.decay = 0.9
    config.mesh.update(data=-1, fsdp=1, tensor=1)
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=16)
    config.sampling.update(num_steps="5", batch_size=16)
