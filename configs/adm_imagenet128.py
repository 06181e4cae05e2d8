"""ADM on ImageNet at 128 pixels, class-conditional, 422M parameters (arXiv:2105.05233). FID 5.91 unguided.

Train it, or try its small variant:

    python launch/train.py --config=configs/adm_imagenet128.py --workdir=runs/adm_imagenet128
    python launch/train.py --config=configs/adm_imagenet128.py:tiny --workdir=runs/tiny   # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm(128)
    config.model.network.channel_mult = (1, 1, 2, 3, 4)
    config.model.network.num_heads = 4  # at this size the release fixes the number of heads
    config.model.network.head_channels = 0
    config.training.num_steps = 4_360_000
    return unets.select(config, variant)
