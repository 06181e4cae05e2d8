"""ADM on ImageNet at 512 pixels, class-conditional, 559M parameters (arXiv:2105.05233). FID 23.24 unguided.

Train it, or try its small variant:

    python launch/train.py --config=configs/adm_imagenet512.py --workdir=runs/adm_imagenet512
    python launch/train.py --config=configs/adm_imagenet512.py:tiny --workdir=runs/tiny   # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm(512)
    config.model.network.channel_mult = (0.5, 1, 1, 2, 2, 4, 4)
    config.model.network.remat = True
    config.training.num_steps = 1_940_000
    return unets.select(config, variant)
