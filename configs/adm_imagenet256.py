"""ADM on ImageNet at 256 pixels, class-conditional, 554M parameters (arXiv:2105.05233). FID 10.94 unguided.

Train it, or try its small variant:

    python launch/train.py --config=configs/adm_imagenet256.py --workdir=runs/adm_imagenet256
    python launch/train.py --config=configs/adm_imagenet256.py:tiny --workdir=runs/tiny   # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm(256)
    config.model.network.channel_mult = (1, 1, 2, 2, 4, 4)
    config.model.network.remat = True
    config.training.num_steps = 1_980_000
    return unets.select(config, variant)
