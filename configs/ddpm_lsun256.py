"""DDPM on LSUN bedrooms at 256 pixels, 113.7M parameters (arXiv:2006.11239).

    python launch/train.py --config=configs/ddpm_lsun256.py --workdir=runs/ddpm_lsun256
    python launch/train.py --config=configs/ddpm_lsun256.py:tiny --workdir=runs/tiny      # seconds, on a CPU

The paper's other sets at this size have the same setting, with flips: CelebA-HQ (500K steps), LSUN cats
(1.8M) and churches (1.2M):
`--config.data.name=lsun/cat --config.data.flip=True --config.training.num_steps=1800000`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.ddpm()
    config.data.name = "lsun/bedroom"
    config.data.eval_split = "validation"
    config.data.image_size = 256
    config.data.batch_size = 64
    config.model.network.channel_mult = (1, 1, 2, 2, 4, 4)
    config.optimizer.model.learning_rate = 2e-5  # 2e-4 was unstable at this size
    config.training.num_steps = 2_400_000
    return unets.select(config, variant)
