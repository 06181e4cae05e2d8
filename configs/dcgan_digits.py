"""DCGAN on scikit-learn's 1,797 real 8x8 digits: minutes on a laptop.

    python launch/train.py --config=configs/dcgan_digits.py --workdir=runs/dcgan_digits
    python launch/sample.py --workdir=runs/dcgan_digits --num_samples=1000

The discriminator has no batch norm, for the sake of R1 (see configs/recipes/gans.py), and sees images moved by up to
a pixel: the Frechet distance is 2.3 times the floor, precision .77 and recall .80. With the augmentation and R1 of
configs/recipes/gans.py alone they are 2.9, .81 and .87: fewer shifted digits, and a discriminator that begins to
overfit.

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, gans


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = gans.digits(gans.gan())
    config.model.generator.update(width=32, base=2, extra_layers=1)
    config.model.discriminator.update(width=32, base=2, extra_layers=1, norm="none")
    config.model.r1.gamma = 0.02
    config.model.augment.update(policy="translation,cutout", cutout=0.25)
    config.training.num_steps = 8_000

    if variant == "tiny":
        config = gans.tiny(config)
        config.model.generator.width = config.model.discriminator.width = 8
    return config
