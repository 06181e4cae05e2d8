"""VQ-VAE on CIFAR-10: 8x8 codes out of 512, with the settings of Sonnet's example.

128 channels, two residual blocks of 32, D = 64, moving averages of decay 0.99, commitment cost 0.25, Adam at 3e-4,
batch 32, 10,000 steps, and the squared error divided by the variance of the training pixels. The variance is 0.0633 in
Sonnet's unit, pixels in [0, 1] (it trains on [-0.5, 0.5], of the same variance): four times that in [-1, 1].

The variant "tiny" trains on 8x8 digits in seconds, for tests.
"""

from genjax.configs.recipes import codebooks, common


def get_config(variant: str = ""):
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = codebooks.vqvae()
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.data.batch_size = 32
    config.model.data_variance = 4 * 0.0633
    config.training.num_steps = 10_000
    config.log.update(sample_every=1_000, eval_every=1_000)

    return codebooks.shrink(config) if variant == "tiny" else config
