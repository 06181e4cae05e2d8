"""Improved DDPM that upsamples ImageNet's images from 64 to 256 pixels, class-conditional, 280M parameters
(arXiv:2102.09672). With its model of 64 pixels FID 12.3.

    python launch/train.py --config=configs/iddpm_upsample_imagenet256.py --workdir=runs/iddpm_upsample_imagenet256
    python launch/train.py --config=configs/iddpm_upsample_imagenet256.py:tiny --workdir=runs/tiny  # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.iddpm()
    config.data.name = "imagenet2012"
    config.data.eval_split = "validation"
    config.data.image_size = 256
    config.data.flip = True
    config.data.batch_size = 256
    config.model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 4000})
    config.model.conditional = True
    config.model.low_res = common.low_res(64)
    config.model.network.update({"width": 192, "channel_mult": (1, 1, 2, 2, 4, 4), "num_res_blocks": 2, "remat": True})
    config.optimizer.model.learning_rate = 3e-4
    config.training.num_steps = 500_000
    config.sampling.num_steps = "250"
    return unets.select(config, variant)
