"""BigGAN on ImageNet at 128x128 (arXiv:1809.11096), for pods: 70,433,988 + 87,982,370 parameters.

    python launch/train.py --config=configs/biggan_imagenet128.py --workdir=runs/biggan_imagenet128
    python launch/sample.py --workdir=runs/biggan_imagenet128 --truncation=0.5

The paper's: batches of 2048 images, two discriminator steps for one of the generator, learning rates 2e-4 and 5e-5,
moving averages of .9999. A step here is one of the discriminator's. The variant "tiny" trains on the 8x8 digits in
seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import biggans


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return biggans.select(biggans.biggan(128), variant)
