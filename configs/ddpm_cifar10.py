"""DDPM on CIFAR-10, 35.7M parameters (arXiv:2006.11239). The paper's 800K steps give FID 3.17.

Train it, or try its small variant:

    python launch/train.py --config=configs/ddpm_cifar10.py --workdir=runs/ddpm_cifar10
    python launch/train.py --config=configs/ddpm_cifar10.py:tiny --workdir=runs/tiny      # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.ddpm()
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.data.flip = True
    config.data.batch_size = 128
    config.model.network.channel_mult = (1, 2, 2, 2)
    config.model.network.dropout = 0.1
    config.training.num_steps = 800_000
    return unets.select(config, variant)
