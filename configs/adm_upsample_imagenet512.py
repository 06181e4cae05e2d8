"""ADM-U: ImageNet's images upsampled from 128 to 512 pixels, class-conditional, 309M parameters (arXiv:2105.05233).

After a guided ADM of 128 pixels FID 3.85.

    python launch/train.py --config=configs/adm_upsample_imagenet512.py --workdir=runs/adm_upsample_imagenet512
    python launch/train.py --config=configs/adm_upsample_imagenet512.py:tiny --workdir=runs/tiny  # seconds, on a CPU

Attention at 32 and 16 pixels, as in the release; the paper's table adds 8.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm_upsample(512, 128)
    config.model.network.attention_resolutions = (32, 16)
    config.training.num_steps = 1_050_000
    return unets.select(config, variant)
