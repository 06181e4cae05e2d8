"""unCLIP's first upsampler at the paper's size (arXiv:2204.06125, table 3): 64 to 256 pixels, 730M parameters.

Low-resolution images are blurred in training, x_t has a cosine schedule, and DDIM draws in 27 steps. The variant
"tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalle2s


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalle2s.upsampler(256, 64, width=320, channel_mult=(1, 2, 3, 4), blocks=3)
    config.data.batch_size = 1024
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    config.model.low_res.blur = (0.6, 0.6)
    config.optimizer.model = common.adam(1.2e-4)
    config.sampling.num_steps = "fast27"
    return dalle2s.select(config, variant)
