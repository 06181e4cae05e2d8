"""VQ-VAE on ImageNet at 128x128: 32x32 codes out of 512, as in arXiv:1711.00937, section 4.1.

From the paper: two strided 4x4 convolutions, two residual blocks, 256 channels throughout, Adam at 2e-4, batch 128,
250,000 steps, commitment cost 0.25, K = 512. Not in it, from Sonnet's example: D = 64 and the half width at the first
stride. The paper's codebook here learned by loss; that is the variant "loss", the default are the moving averages of
its appendix, which later work uses. The squared error is plain, for want of the paper's likelihood.

The variant "tiny" trains on 8x8 digits in seconds, for tests.
"""

from genjax.configs.recipes import codebooks, common


def get_config(variant: str = ""):
    """The config; `variant` is "", "loss" or "tiny"."""
    common.expect_variant(variant, "loss")
    config = codebooks.vqvae()
    config.data.name = "imagenet2012"
    config.data.eval_split = "validation"
    config.data.image_size = 128
    config.data.batch_size = 128
    config.model.update(width=256, res_width=256)
    config.optimizer.model.learning_rate = 2e-4
    config.training.num_steps = 250_000

    if variant == "loss":
        config.model.codebook.learning = "loss"
    return codebooks.shrink(config) if variant == "tiny" else config
