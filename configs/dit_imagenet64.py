"""Class-conditional DiT-L/4 on ImageNet at 64 pixels, 458M parameters: a transformer in place of ADM's U-Net.

    python launch/train.py --config=configs/dit_imagenet64.py --workdir=runs/dit_imagenet64
    python launch/sample.py --workdir=runs/dit_imagenet64 --guidance_scale=1.5

In pixel space, which the paper (arXiv:2212.09748) is not: its networks see the latents of an autoencoder, 32 x 32 x 4
for images of 256 pixels. Patches of 4 pixels give as many tokens, 256, from 64 x 64 x 3 pixels, so a step costs the
same. All else is the paper's: linear schedule, learned variance, Adam at 1e-4, batches of 256, labels dropped in 10% of
the examples, average of .9999. No result at this setting is published.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import dits


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial on the digits."""
    config = dits.dit("L", patch_size=4)
    config.data.name = "imagenet2012"
    config.data.eval_split = "validation"
    config.data.image_size = 64
    config.data.flip = True
    config.data.batch_size = 256
    config.model.dtype = "bfloat16"
    config.model.network.remat = True
    config.training.num_steps = 400_000
    return dits.select(config, variant)
