"""What the configs of autoencoders, variational and discrete variational autoencoders share.

What each field of `config.model` means is in the `Settings` of `genjax.families.autoencoder`, `vae` and `dvae`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def autoencoder() -> ConfigDict:
    """`common.base()` with the fields of the autoencoder family: plain, or denoising (Vincent et al. 2008)."""
    config = common.base()
    config.family = "autoencoder"
    config.model = model = ConfigDict()
    model.code_dim = 64
    model.corruption = ConfigDict({"name": "none", "amount": 0.0})
    model.dtype = "float32"
    model.network = conv()
    config.optimizer = ConfigDict({"model": common.adam(1e-3)})
    return config


def vae() -> ConfigDict:
    """`common.base()` with the fields of the vae family (arXiv:1312.6114)."""
    config = common.base()
    config.family = "vae"
    config.model = model = ConfigDict()
    model.latent_dim = 20
    model.likelihood = ConfigDict()
    model.likelihood.name = "discretized_logistic"
    model.likelihood.scale = 0.0
    model.beta = 1.0
    model.kl_annealing_steps = 0
    model.free_bits = 0.0
    model.iwae_samples = 1000
    model.dtype = "float32"
    model.network = mlp()
    config.optimizer = ConfigDict({"model": common.adam(1e-3)})
    config.sampling.batch_size = 64
    return config


def dvae() -> ConfigDict:
    """`common.base()` with the fields of the dvae family, set as in DALL-E (arXiv:2102.12092, appendix A)."""
    config = common.base()
    config.family = "dvae"
    config.model = model = ConfigDict()
    model.num_codes = 8192
    model.temperature = ConfigDict()
    model.temperature.start = 1.0
    model.temperature.end = 1 / 16
    model.temperature.num_steps = 150_000
    model.kl = ConfigDict()
    model.kl.weight = 6.6
    model.kl.num_steps = 5_000
    model.min_log_scale = -20.0
    model.dtype = "float32"
    model.network = network = ConfigDict()
    network.width = 256
    network.channel_mult = (1, 2, 4, 8)
    network.num_blocks = 2
    network.input_width = 128
    network.remat = False
    config.optimizer = ConfigDict({"model": common.adam(1e-4)})
    return config


def mlp(hidden: tuple[int, ...] = (500,), activation: str = "tanh") -> ConfigDict:
    """Multilayer perceptrons for coders."""
    return ConfigDict(
        {
            "name": "mlp",
            "hidden": hidden,
            "activation": activation,
        }
    )


def conv(width: int = 64, num_downs: int = 2, num_res_blocks: int = 2, res_width: int = 32) -> ConfigDict:
    """Convolutional coders with a vector between them."""
    return ConfigDict(
        {
            "name": "conv",
            "width": width,
            "num_downs": num_downs,
            "num_res_blocks": num_res_blocks,
            "res_width": res_width,
        }
    )


def digits(config: ConfigDict) -> ConfigDict:
    """Set the data to scikit-learn's 8x8 digits, and the rhythm to minutes of training."""
    config.data.update({"name": "digits", "split": "train", "eval_split": "test", "image_size": 8, "channels": 1})
    config.data.update({"crop": "center", "flip": False, "batch_size": 64})
    config.training.ema.decay = 0.995
    config.checkpoint.every = 1_000
    config.log.update({"every": 100, "sample_every": 1_000, "eval_every": 1_000, "num_samples": 100})
    return config


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny": the same objective on 8x8 digits, in 20 steps
    of 16 images.

    Raises:
        ValueError: for another variant.
    """
    return common.select(config, variant, _shrink)


def _shrink(config: ConfigDict) -> None:
    digits(config)
    config.data.batch_size = 16
    network = config.model.network
    if config.family == "dvae":
        network.update({"width": 16, "channel_mult": (1, 2), "num_blocks": 1, "input_width": 8})
        config.model.num_codes = 16
        config.model.temperature.num_steps = config.model.kl.num_steps = 10
    elif network.name == "mlp":
        network.hidden = tuple(32 for _ in network.hidden)
    else:
        network.update({"width": 16, "num_downs": 1, "num_res_blocks": 1, "res_width": 8})
    if config.family == "vae":
        config.model.update({"latent_dim": 4, "iwae_samples": 20})
        config.model.kl_annealing_steps = min(10, config.model.kl_annealing_steps)
    if config.family == "autoencoder":
        config.model.code_dim = 16
    config.optimizer.model.update({"learning_rate": 1e-3, "warmup_steps": 0})
    config.training.update({"num_steps": 20, "microbatches": 1})
    config.training.ema.decay = min(config.training.ema.decay, 0.9)
    config.checkpoint.every = 10
    config.log.update({"every": 5, "sample_every": 20, "eval_every": 20, "num_samples": 16})
    config.sampling.batch_size = 16
