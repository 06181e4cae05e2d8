"""Denoising autoencoder (Vincent et al. 2008) of scikit-learn's 1,797 real 8x8 digits: `ae_digits`, but for the noise.

    python launch/train.py --config=configs/dae_digits.py --workdir=runs/dae_digits

Gaussian noise of standard deviation .75 in [-1, 1]. The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import ae_digits


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = ae_digits.get_config(variant)
    config.model.corruption.update({"name": "gaussian", "amount": 0.75})
    return config
