"""unCLIP's second upsampler at the paper's size (arXiv:2204.06125, table 3): 256 to 1024 pixels, 280M parameters.

Low-resolution images are degraded in training as by BSRGAN, and DDIM draws in 15 steps. The variant "tiny" trains in
seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalle2s


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalle2s.upsampler(1024, 256, width=192, channel_mult=(1, 1, 2, 2, 4, 4), blocks=2)
    config.data.batch_size = 512
    config.model.low_res.bsr = True
    config.optimizer.model = common.adam(1e-4)
    config.sampling.num_steps = "ddim15"
    return dalle2s.select(config, variant)
