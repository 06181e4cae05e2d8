"""The priors over the 2x2 and 4x4 codes of configs/vqvae2_digits.py, by class: with them, VQ-VAE-2 draws digits.

    python launch/train.py --config=configs/vqvae2_prior_digits.py --workdir=runs/vqvae2_prior_digits \
        --config.stages.tokenizer.workdir=runs/vqvae2_digits
    python launch/sample.py --workdir=runs/vqvae2_prior_digits

The top prior has attention (PixelSNAIL), the bottom one has none (Gated PixelCNN), as in the paper. The variant "tiny"
(`--config=configs/vqvae2_prior_digits.py:tiny`) trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import priors


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = priors.code_prior(
        priors.pixelsnail(width=48, num_blocks=2, num_res_blocks=1, num_heads=4, key_dim=8, dropout=0.2),
        priors.gated_pixelcnn(width=48, depth=5, first_kernel=5, head_width=96, dropout=0.2),
    )
    config.data.name = "digits"
    config.data.image_size = 8
    config.data.channels = 1
    config.data.batch_size = 64
    config.model.code_noise = 0.05
    config.model.context.update(width=48, num_blocks=1, dropout=0.2)
    for optimizer in config.optimizer.values():
        optimizer.update(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 1_000
    config.training.ema.decay = 0.99
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=250, num_samples=100)
    config.sampling.guidance_scale = 1.2  # more of the requested digit, for a little less variety
    config.sampling.batch_size = 250
    return priors.select(config, variant)
