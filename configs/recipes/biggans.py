"""What the configs of BigGAN share: fields, the table of sizes, and the `tiny` variant.

What each field means is in `genjax.families.biggan`, `Settings` and `Sampling`, and in the modules of
`genjax.nn.biggan`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common

GENERATOR_MULT = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
"""Image size -> the generator's `channel_mult` (arXiv:1809.11096, appendix B; 32: the authors' PyTorch release)."""

DISCRIMINATOR_MULT = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
"""Image size -> the discriminator's `channel_mult`."""


def biggan(image_size: int = 128) -> ConfigDict:
    """BigGAN on ImageNet (arXiv:1809.11096, section 3 and appendix C) at one of the sizes of the tables."""
    config = common.base()
    config.family = "biggan"
    config.data.update(name="imagenet2012", eval_split="validation", image_size=image_size, batch_size=2048)

    config.model = model = ConfigDict()
    model.loss = "hinge"
    model.discriminator_steps = 2
    model.orthogonal = 1e-4
    model.r1 = 0.0
    model.dtype = "bfloat16"

    model.augment = augment = ConfigDict()
    augment.policy = ""
    augment.translation = 0.125
    augment.cutout = 0.5
    augment.fill = 0.0

    model.generator = generator = ConfigDict()
    generator.width = 96
    generator.channel_mult = GENERATOR_MULT[image_size]
    generator.attention_resolutions = (64,)
    generator.z_dim = 20 * len(generator.channel_mult)
    generator.shared_dim = 128
    generator.bottom_size = 4
    generator.depth = 0
    generator.norm_eps = 1e-5
    generator.spectral_eps = 1e-6
    generator.remat = False

    model.discriminator = discriminator = ConfigDict()
    discriminator.width = 96
    discriminator.channel_mult = DISCRIMINATOR_MULT[image_size]
    discriminator.num_downsamples = image_size.bit_length() - 3
    discriminator.attention_resolutions = (64,)
    discriminator.depth = 0
    discriminator.spectral_eps = 1e-6
    discriminator.remat = False

    config.optimizer = ConfigDict(
        {
            "generator": common.adam(5e-5, b1=0.0, eps=1e-6),
            "discriminator": common.adam(2e-4, b1=0.0, eps=1e-6),
        }
    )
    config.training.num_steps = 300_000
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 5_000

    config.sampling = sampling = ConfigDict()
    sampling.truncation = 0.0
    sampling.standing_passes = 16
    sampling.standing_batch = 64
    sampling.batch_size = 256
    return config


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny".

    "tiny" keeps losses, regularisation and kinds of blocks, and shrinks the rest to scikit-learn's 8x8 digits, which
    need no download: one stage of 8 to 16 channels with attention, 20 steps of 16 images.

    Raises:
        ValueError: for another variant.
    """
    return common.select(config, variant, _shrink)


def _shrink(config: ConfigDict) -> None:
    config.data.update(name="digits", split="train", eval_split="test", image_size=8, channels=1, flip=False)
    config.data.batch_size = 16
    generator, discriminator = config.model.generator, config.model.discriminator
    attention = (8,) if generator.attention_resolutions else ()
    generator.update(width=8, channel_mult=(2, 1), bottom_size=4, z_dim=8, attention_resolutions=attention)
    generator.shared_dim = min(8, generator.shared_dim)
    discriminator.update(width=8, channel_mult=(1, 2), num_downsamples=1, attention_resolutions=())
    config.model.dtype = "float32"
    config.training.update(num_steps=20, microbatches=1)
    config.training.ema.decay = min(config.training.ema.decay, 0.9)
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
    config.sampling.update(standing_passes=2, standing_batch=16, batch_size=20)
