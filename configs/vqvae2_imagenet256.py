"""VQ-VAE-2 on ImageNet at 256x256: 32x32 codes at the top, 64x64 below, as in arXiv:1906.00446, appendix A.

128 channels, two residual blocks of 64, K = 512, D = 64, commitment cost 0.25, decay 0.99, batch 128, 2,207,444 steps;
Adam at 3e-4 is that of Sonnet's example. This is the first of three stages: configs/vqvae2_prior_imagenet256.py has the
priors of the two levels.

The variant "1024" is the tokenizer of the paper's faces: images of 1024x1024 on 32x32, 64x64 and 128x128 codes. Its
data is a folder of images, to be named: --config.data.name=folder:/path. The variant "tiny" trains on 8x8
digits in seconds, for tests.
"""

from genjax.configs.recipes import codebooks, common


def get_config(variant: str = ""):
    """The config; `variant` is "", "1024" or "tiny"."""
    common.expect_variant(variant, "1024")
    config = codebooks.vqvae2()
    config.data.name = "imagenet2012"
    config.data.eval_split = "validation"
    config.data.image_size = 256
    config.data.batch_size = 128
    config.training.num_steps = 2_207_444

    if variant == "1024":
        config.data.update(name="folder:ffhq", eval_split="test", image_size=1024)
        config.model.downs = (3, 1, 1)
        config.training.num_steps = 304_741
    return codebooks.shrink(config) if variant == "tiny" else config
