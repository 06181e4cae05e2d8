"""DCGAN on faces of 64 pixels, at the size of its authors' script (arXiv:1511.06434).

    python launch/train.py --config=configs/dcgan_celeba64.py --workdir=runs/dcgan_celeba64

The variant "tiny" is for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, gans


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = gans.gan()
    config.data.name = "celeb_a"
    config.data.image_size = 64
    config.data.flip = True
    config.model.generator.width = config.model.discriminator.width = 128
    config.model.noise = "uniform"
    config.sampling.update(batch_size=512, standing_passes=8)  # each batch measures its statistics on 1,024 more
    config.training.num_steps = 40_000  # 25 times over the 162,770 images, with 128 in a batch

    if variant == "tiny":
        config = gans.tiny(config)
        config.model.generator.width = config.model.discriminator.width = 4
    return config
