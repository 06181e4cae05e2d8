"""Convolutional autoencoder of scikit-learn's 1,797 real 8x8 digits, to compare the denoising one with: a minute or two
on a laptop.

    python launch/train.py --config=configs/ae_digits.py --workdir=runs/ae_digits

The code has 16 numbers for 64 pixels. The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import autoencoders


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = autoencoders.digits(autoencoders.autoencoder())
    config.model.code_dim = 16
    config.model.network = autoencoders.conv(width=32, num_downs=1, num_res_blocks=1, res_width=32)
    config.optimizer.model.update({"learning_rate": 2e-3, "warmup_steps": 100, "schedule": "cosine"})
    config.training.num_steps = 1_500
    return autoencoders.select(config, variant)
