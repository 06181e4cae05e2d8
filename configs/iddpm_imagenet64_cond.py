"""Improved DDPM on ImageNet at 64 pixels, class-conditional, 273M parameters: the paper's "270M"
(arXiv:2102.09672).

250K steps, sampled with 250, give FID 2.92.

    python launch/train.py --config=configs/iddpm_imagenet64_cond.py --workdir=runs/iddpm_imagenet64_cond
    python launch/train.py --config=configs/iddpm_imagenet64_cond.py:tiny --workdir=runs/tiny   # seconds, on
    a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.iddpm()
    config.data.name = "imagenet_resized/64x64"
    config.data.eval_split = "validation"
    config.data.image_size = 64
    config.data.batch_size = 2048
    config.model.conditional = True
    config.model.network.width = 192
    config.model.network.channel_mult = (1, 2, 3, 4)
    config.optimizer.model.learning_rate = 3e-4
    config.training.num_steps = 250_000
    config.sampling.num_steps = "250"
    return unets.select(config, variant)
