"""Improved DDPM on ImageNet at 64 pixels, unconditional, 121M parameters (arXiv:2102.09672).

The paper's 1.5M steps give FID 19.2 and 3.57 bits/dim.

    python launch/train.py --config=configs/iddpm_imagenet64.py --workdir=runs/iddpm_imagenet64
    python launch/train.py --config=configs/iddpm_imagenet64.py:tiny --workdir=runs/tiny  # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.iddpm()
    config.data.name = "imagenet_resized/64x64"
    config.data.eval_split = "validation"
    config.data.image_size = 64
    config.data.batch_size = 128
    config.model.network.channel_mult = (1, 2, 3, 4)
    config.model.network.time_scale = 0.25  # the release rescales its 4000 steps to 1000 for the network
    config.model.vb_weight = 4.0  # and its variational term by T / 1000
    config.training.num_steps = 1_500_000
    return unets.select(config, variant)
