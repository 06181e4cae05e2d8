"""The prior over the 4x4 codes of configs/vqvae_digits.py, by class: with it, VQ-VAE draws digits.

    python launch/train.py --config=configs/vqvae_prior_digits.py --workdir=runs/vqvae_prior_digits \
        --config.stages.tokenizer.workdir=runs/vqvae_digits
    python launch/sample.py --workdir=runs/vqvae_prior_digits

The variant "pixelcnn" has a Gated PixelCNN in place of the transformer. The variant "tiny"
(`--config=configs/vqvae_prior_digits.py:tiny`) trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, priors


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "pixelcnn" or "tiny"."""
    common.expect_variant(variant, "pixelcnn")
    network = priors.transformer(width=96, depth=3, num_heads=4, dropout=0.2)
    if variant == "pixelcnn":
        network, variant = priors.gated_pixelcnn(width=48, depth=5, first_kernel=5, head_width=96, dropout=0.2), ""
    config = priors.code_prior(network)
    config.data.name = "digits"
    config.data.image_size = 8
    config.data.channels = 1
    config.data.batch_size = 64
    config.model.code_noise = 0.05
    config.optimizer.level_0.update(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 1_000
    config.training.ema.decay = 0.99
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=250, num_samples=100)
    config.sampling.guidance_scale = 1.2  # more of the requested digit, for a little less variety
    config.sampling.batch_size = 250
    return priors.select(config, variant)
