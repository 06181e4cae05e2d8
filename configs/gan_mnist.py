"""The first GAN on MNIST, with its authors' settings (arXiv:1406.2661): dense layers, maxout, dropout, SGD.

    python launch/train.py --config=configs/gan_mnist.py --workdir=runs/gan_mnist

The variant "tiny" is for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, gans


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = gans.original()
    config.data.name = "mnist"
    config.data.image_size = 28
    config.data.channels = 1
    config.training.num_steps = 150_000  # 250 times over the 60,000 images
    config.training.ema.decay = 0.0
    config.checkpoint.every = 5_000

    if variant == "tiny":
        config = gans.tiny(config)
        config.model.generator.width = config.model.discriminator.width = 16
    return config
