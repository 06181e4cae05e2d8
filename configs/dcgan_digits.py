"""DCGAN on scikit-learn's 1,797 real 8x8 digits: minutes on a laptop.

    python launch/train.py --config=configs/dcgan_digits.py --workdir=runs/dcgan_digits
    python launch/sample.py --workdir=runs/dcgan_digits --num_samples=1000

With 1,352 pictures to learn from the discriminator would know them by heart: both players see augmented pictures, R1
keeps it smooth, and it has no batch norm. The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from configs import gans


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    if variant not in ("", "tiny"):
        raise ValueError(f"unknown variant {variant!r} of dcgan_digits; known: none, tiny")
    config = gans.digits(gans.gan())
    config.model.generator.update(width=32, base=2, extra_layers=1)
    config.model.discriminator.update(width=32, base=2, extra_layers=1, norm="none")
    config.model.latent_dim = 32
    config.model.r1.update(gamma=1.0, interval=4)
    config.model.augment.update(policy="translation,cutout", cutout=0.25)
    config.training.num_steps = 8_000
    for player in ("discriminator", "generator"):
        config.optimizer[player].update(learning_rate=1e-3)

    if variant == "tiny":
        config = gans.tiny(config)
        config.model.generator.width = config.model.discriminator.width = 8
    return config
