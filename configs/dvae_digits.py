"""DALL-E's dVAE of scikit-learn's 1,797 real 8x8 digits: 4x4 codes out of 64, in minutes on a laptop.

    python launch/train.py --config=configs/dvae_digits.py --workdir=runs/dvae_digits

It draws no images of its own: a prior over its codes has to be learned. The variant "tiny" trains in seconds, for
tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import autoencoders


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = autoencoders.digits(autoencoders.dvae())
    config.model.num_codes = 64
    config.model.network.update({"width": 32, "channel_mult": (1, 2), "num_blocks": 1, "input_width": 32})
    config.model.temperature.num_steps = 2_000
    config.model.kl.update({"weight": 0.5, "num_steps": 1_000})
    config.model.min_log_scale = -0.5
    config.optimizer.model.update({"learning_rate": 2e-3, "warmup_steps": 100, "schedule": "cosine", "clip_norm": 1.0})
    config.training.num_steps = 2_500
    return autoencoders.select(config, variant)
