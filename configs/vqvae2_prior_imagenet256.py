"""The priors over the 32x32 and 64x64 codes of VQ-VAE-2 on ImageNet at 256x256 (arXiv:1906.00446), for pods.

    python launch/train.py --config=configs/vqvae2_prior_imagenet256.py --workdir=runs/vqvae2_prior_imagenet256 \
        --config.stages.tokenizer.workdir=runs/vqvae2_imagenet256 --config.data.encoded=CODES

with CODES written by launch/encode.py. As in the paper: at the top 20 gated layers of 512 channels in 4 groups with an
attention of 8 heads each; at the bottom 20 layers of 512 without attention, conditioned on the top codes by 20 residual
blocks; dropout .1. Deviations: both levels train in one run, with batches of 1024 (the paper's bottom prior: 512);
kernels of the top prior are 2x2, not 5x5; no stack of layers after the last attention.
The variant "tiny" trains in seconds on a tiny tokenizer of the 8x8 digits.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import priors


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = priors.code_prior(
        priors.pixelsnail(width=512, num_blocks=4, num_res_blocks=5, num_heads=8, key_dim=64, dropout=0.1, remat=True),
        priors.gated_pixelcnn(width=512, depth=20, kernel_size=5, head_width=1024, dropout=0.1, remat=True),
    )
    config.data.update(name="imagenet2012", eval_split="validation", image_size=256, batch_size=1024)
    config.model.dtype = "bfloat16"
    config.model.context.update(width=512, num_blocks=20, dropout=0.1)
    for optimizer in config.optimizer.values():
        optimizer.update(learning_rate=3e-4, warmup_steps=5_000, clip_norm=1.0)
    config.training.num_steps = 1_600_000
    return priors.select(config, variant)
