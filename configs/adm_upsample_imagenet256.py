"""ADM-U: ImageNet's images upsampled from 64 to 256 pixels, class-conditional, 312M parameters (arXiv:2105.05233).

After a guided ADM of 64 pixels FID 3.94.

    python launch/train.py --config=configs/adm_upsample_imagenet256.py --workdir=runs/adm_upsample_imagenet256
    python launch/train.py --config=configs/adm_upsample_imagenet256.py:tiny --workdir=runs/tiny  # seconds, on a CPU

The two together, from Python:
`genjax.pipelines.cascade.load(["runs/adm_imagenet64", "runs/adm_upsample_imagenet256"])`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm_upsample(256, 64)
    config.model.network.num_heads = 4  # the release fixes the number of heads here
    config.model.network.head_channels = 0
    config.training.num_steps = 500_000
    return unets.select(config, variant)
