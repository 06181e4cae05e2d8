"""The fields of VQ-VAE and VQ-VAE-2, which `genjax.families.vqvae.Settings` explains, and its sister `vqvae2`;
nothing is sampled from them."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def codebook() -> ConfigDict:
    """The settings of a codebook, at Sonnet's values; of every level's in VQ-VAE-2."""
    config = ConfigDict()
    config.num_codes = 512
    config.dim = 64
    config.learning = "ema"
    config.decay = 0.99
    config.epsilon = 1e-5
    config.restart_threshold = 0.0
    return config


def vqvae() -> ConfigDict:
    """`base()` with the fields of the vqvae family, at the values of Sonnet's example (arXiv:1711.00937)."""
    config = common.base()
    config.family = "vqvae"
    config.model = model = ConfigDict()
    model.codebook = codebook()
    model.width = 128
    model.num_downs = 2
    model.num_res_blocks = 2
    model.res_width = 32
    model.commitment_cost = 0.25
    model.data_variance = 1.0
    model.dtype = "float32"
    config.optimizer = ConfigDict({"model": common.adam(3e-4)})
    config.training.ema.decay = 0.0
    return config


def vqvae2() -> ConfigDict:
    """`base()` with the fields of the vqvae2 family, at the values of its paper (arXiv:1906.00446, appendix A)."""
    config = vqvae()
    config.family = "vqvae2"
    del config.model.num_downs
    config.model.downs = (2, 1)
    config.model.res_width = 64
    return config


def shrink(config: ConfigDict) -> ConfigDict:
    """The variant "tiny" of a config: the same kind of network and codebook, small, on 8x8 digits for 20 steps."""
    config.data.update({"name": "digits", "split": "train", "eval_split": "test", "image_size": 8})
    config.data.update({"channels": 1, "crop": "center", "flip": False, "batch_size": 16})
    config.model.update(width=8, res_width=4, num_res_blocks=1)
    config.model.codebook.update(num_codes=16, dim=4)
    config.training.num_steps = 20
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
    return config
