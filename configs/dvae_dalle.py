"""DALL-E's discrete variational autoencoder (arXiv:2102.12092, appendix A.2; coders as released).

256x256 images in colour become a grid of 32x32 codes out of 8192. AdamW, weight decay 1e-4, batches of 512, three
million steps, moving average .999; temperature, KL weight and learning rate along half cosines, the last over the first
1.2 million steps. The paper's images from the internet aren't public: ImageNet stands in for them.

The variant "tiny" trains in seconds on 8x8 digits, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import autoencoders, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = autoencoders.dvae()
    config.data.update({"name": "imagenet2012", "eval_split": "validation", "image_size": 256, "crop": "random"})
    config.data.batch_size = 512
    config.model.dtype = "bfloat16"
    config.model.network.remat = True
    config.optimizer.model = common.adam(
        1e-4, name="adamw", weight_decay=1e-4, schedule="cosine", end_factor=1.25e-6 / 1e-4, decay_steps=1_200_000
    )
    config.training.num_steps = 3_000_000
    config.training.ema.update({"decay": 0.999, "warmup": False})
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    return autoencoders.select(config, variant)
