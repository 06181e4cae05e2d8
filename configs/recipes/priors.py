"""The fields of priors over codes and of their networks.

What they mean is in `genjax.families.code_prior.Settings`, in the modules of `genjax.nn` that its `NETWORKS` names, and
of sampling in `genjax.families.options`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def code_prior(*networks: ConfigDict) -> ConfigDict:
    """`base()` with the fields of the code_prior family, for a tokenizer with as many levels as networks are given.

    Args:
        networks: of each level, coarse to fine; see below.
    """
    config = common.base()
    config.family = "code_prior"
    config.stages.tokenizer = ConfigDict({"workdir": ""})  # the run of a vqvae, vqvae2 or dvae; has to be given
    names = [f"level_{level}" for level in range(len(networks))]
    config.model = model = ConfigDict()
    model.networks = ConfigDict(dict(zip(names, networks)))
    model.context = context = ConfigDict()
    context.width = 64
    context.num_blocks = 2
    context.dropout = 0.0
    model.conditional = True
    model.label_dropout = 0.1
    model.code_noise = 0.0
    model.dtype = "float32"
    config.optimizer = ConfigDict({name: common.adam(3e-4) for name in names})  # of each level
    config.training.ema.decay = 0.999

    config.sampling = sampling = ConfigDict()
    sampling.guidance_scale = 1.0
    sampling.temperature = 1.0
    sampling.top_k = 0.0
    sampling.top_p = 1.0
    sampling.batch_size = 64
    return config


def gated_pixelcnn(**settings) -> ConfigDict:
    """A Gated PixelCNN (arXiv:1606.05328)."""
    config = ConfigDict()
    config.name = "gated_pixelcnn"
    config.width = 128
    config.depth = 12
    config.kernel_size = 3
    config.first_kernel = 7
    config.head_width = 256
    config.dropout = 0.0
    config.remat = False
    config.update(settings)
    return config


def transformer(**settings) -> ConfigDict:
    """A causal transformer over the codes in raster order."""
    config = ConfigDict()
    config.name = "transformer"
    config.width = 128
    config.depth = 4
    config.num_heads = 4
    config.mlp_ratio = 4
    config.activation = "gelu"
    config.dropout = 0.0
    config.remat = False
    config.update(settings)
    return config


def pixelsnail(**settings) -> ConfigDict:
    """A PixelSNAIL (arXiv:1712.09763): gated convolutions, and attention to all codes before."""
    config = ConfigDict()
    config.name = "pixelsnail"
    config.width = 256
    config.num_blocks = 4
    config.num_res_blocks = 4
    config.num_heads = 1
    config.key_dim = 16
    config.dropout = 0.0
    config.remat = False
    config.update(settings)
    return config


TINY = {
    "gated_pixelcnn": {"width": 16, "depth": 2, "kernel_size": 3, "first_kernel": 3, "head_width": 16},
    "transformer": {"width": 16, "depth": 1, "num_heads": 2},
    "pixelsnail": {"width": 16, "num_blocks": 1, "num_res_blocks": 1, "num_heads": 2, "key_dim": 8},
}
"""Sizes of each network in the variants "tiny"."""


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself, or as "tiny": on the 8x8 digits, with a tiny tokenizer of them, in seconds.

    Raises:
        ValueError: for another variant.
    """
    common.expect_variant(variant)
    if variant == "tiny":
        config.data.update(name="digits", eval_split="test", image_size=8, channels=1, crop="center", batch_size=16)
        for network in config.model.networks.values():
            network.update(TINY[network.name], remat=False)
        config.model.update(dtype="float32")
        config.model.context.update(width=8, num_blocks=1)
        for optimizer in config.optimizer.values():
            optimizer.update(learning_rate=1e-3, warmup_steps=0)
        config.training.num_steps = 20
        config.training.ema.decay = 0.9
        config.checkpoint.every = 10
        config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
        config.sampling.batch_size = 20
    return config
