"""The fields of DALL-E: `genjax.families.dalle.Settings`, `genjax.nn.dalle.DalleTransformer`, and of sampling
`genjax.families.options`."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def dalle() -> ConfigDict:
    """`base()` with the fields of the dalle family, trained as in its paper (arXiv:2102.12092, appendix B.2)."""
    config = common.base()
    config.family = "dalle"
    config.stages.tokenizer = ConfigDict({"workdir": ""})  # the run of a dvae or vqvae; has to be given
    config.data.tokenizer = common.bpe(dropout=0.1)
    config.model = model = ConfigDict()
    model.network = network = ConfigDict()
    network.width = 128
    network.depth = 4
    network.num_heads = 4
    network.mlp_ratio = 4
    network.activation = "gelu"
    network.dropout = 0.0
    network.attention = "sparse"
    network.kernel_size = 11
    network.remat = False
    model.text_weight = 1 / 8
    model.text_dropout = 0.1
    model.dtype = "float32"
    config.optimizer = ConfigDict(
        {"model": common.adam(4.5e-4, name="adamw", b1=0.9, b2=0.96, weight_decay=4.5e-2, clip_norm=4.0)}
    )
    config.training.ema.decay = 0.999

    config.sampling = sampling = ConfigDict()
    sampling.guidance_scale = 1.0
    sampling.temperature = 1.0
    sampling.top_k = 0.0
    sampling.top_p = 1.0
    sampling.batch_size = 64
    return config


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself, or as "tiny": on drawn scenes, with a tiny tokenizer of them, in seconds.

    Raises:
        ValueError: for another variant.
    """
    common.expect_variant(variant)
    if variant == "tiny":
        config.data.update(name="captioned_shapes/32", split="train", eval_split="test", image_size=32, batch_size=16)
        config.data.update(crop="center", flip=False)
        config.data.tokenizer = common.bpe(vocab_size=300)
        config.model.network.update(width=16, depth=3, num_heads=2, kernel_size=3, remat=False)
        config.model.dtype = "float32"
        config.optimizer.model.update(warmup_steps=0, learning_rate=1e-3)
        config.training.update(num_steps=20, microbatches=1)
        config.mesh.update(data=-1, fsdp=1, tensor=1)
        config.checkpoint.every = 10
        config.log.update(every=5, sample_every=20, eval_every=20, num_samples=16)
        config.sampling.batch_size = 16
    return config
