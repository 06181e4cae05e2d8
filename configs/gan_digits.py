"""The GAN of 2014, of dense layers alone, on scikit-learn's 1,797 real 8x8 digits: minutes on a laptop.

    python launch/train.py --config=configs/gan_digits.py --workdir=runs/gan_digits
    python launch/sample.py --workdir=runs/gan_digits --num_samples=1000

Networks and loss are those of configs/gan_mnist.py but smaller and without dropout; what makes them work on 1,352
images is newer: Adam, R1, differentiable augmentation, a moving average (configs/recipes/gans.py). The Frechet
distance is 1.6 times the floor, precision .87 and recall .77.

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, gans


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = gans.digits(gans.original())
    config.model.generator.update(width=256)
    config.model.discriminator.update(width=128, dropout_input=0.0, dropout=0.0, init_range=0.05)
    config.training.num_steps = 20_000

    if variant == "tiny":
        config = gans.tiny(config)
        config.model.generator.width = config.model.discriminator.width = 16
    return config
