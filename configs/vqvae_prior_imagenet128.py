"""The prior over the 32x32 codes of VQ-VAE on ImageNet at 128x128 (arXiv:1711.00937), for pods.

    python launch/train.py --config=configs/vqvae_prior_imagenet128.py --workdir=runs/vqvae_prior_imagenet128 \
        --config.stages.tokenizer.workdir=runs/vqvae_imagenet128 --config.data.encoded=CODES

with CODES written by launch/encode.py. The paper says "a PixelCNN" and no sizes; these are those of the Gated PixelCNN
for ImageNet's 32x32 pixels (arXiv:1606.05328, section 3.2): 20 layers of 384 channels, kernels 5x5, batches of 128,
200,000 steps. The variant "tiny" trains in seconds on a tiny tokenizer of the 8x8 digits.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import priors


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = priors.code_prior(
        priors.gated_pixelcnn(width=384, depth=20, kernel_size=5, head_width=1024, dropout=0.0, remat=True)
    )
    config.data.update(name="imagenet2012", eval_split="validation", image_size=128, batch_size=128)
    config.model.dtype = "bfloat16"
    config.optimizer.level_0.update(learning_rate=2e-4, warmup_steps=1_000, clip_norm=1.0)
    config.training.num_steps = 200_000
    return priors.select(config, variant)
