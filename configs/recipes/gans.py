"""What the configs of the gan family share: fields, and the recipes of two papers.

What each field means is in `Settings` and `Sampling` of `genjax.families.gan`, and in the modules of
`genjax.nn.dcgan` and `genjax.nn.maxout`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def gan() -> ConfigDict:
    """`common.base()` with the fields of the gan family, set as in DCGAN (arXiv:1511.06434)."""
    config = common.base()
    config.family = "gan"
    config.model = model = ConfigDict()
    model.generator = ConfigDict({"name": "dcgan"})
    model.discriminator = ConfigDict({"name": "dcgan"})
    model.loss = "non_saturating"
    model.latent_dim = 100
    model.noise = "normal"
    model.discriminator_steps = 1
    model.gradient_penalty = 0.0
    model.r1 = ConfigDict({"gamma": 0.0, "interval": 1})
    model.augment = ConfigDict({"policy": "", "translation": 0.125, "cutout": 0.5, "fill": 0.0})
    model.dtype = "float32"
    config.optimizer = ConfigDict({"discriminator": common.adam(2e-4, b1=0.5), "generator": common.adam(2e-4, b1=0.5)})
    config.training.ema.decay = 0.999

    config.sampling = sampling = ConfigDict()
    sampling.batch_size = 64
    sampling.standing_passes = 16
    sampling.standing_batch = 128
    return config


def original() -> ConfigDict:
    """The first GAN (arXiv:1406.2661) with its authors' settings for MNIST: SGD with momentum, maxout and dropout."""
    config = gan()
    config.model.generator.name = "mlp"
    config.model.discriminator.name = "maxout"
    config.model.noise = "uniform"
    config.data.batch_size = 100
    for player in ("discriminator", "generator"):
        config.optimizer[player] = common.adam(0.1, name="sgd", momentum=0.5)
    return config


def digits(config: ConfigDict) -> ConfigDict:
    """The config on scikit-learn's 8x8 digits, with what keeps 1,352 images from being learnt by heart.

    Both players see images of which a square of 3x3 pixels is blanked. Translations as well delay overfitting, but a
    pixel is much of 8, and some samples come out shifted. R1 keeps the discriminator smooth, weaker than for large
    images, since a gradient by 64 pixels has to be large to tell them apart. Adam goes without momentum.
    """
    config.data.name = "digits"
    config.data.image_size = 8
    config.data.channels = 1
    config.data.batch_size = 64
    config.model.latent_dim = 32
    config.model.r1.gamma = 0.05
    config.model.augment.update(policy="cutout", cutout=0.375, fill=-1.0)
    for player in ("discriminator", "generator"):
        config.optimizer[player] = common.adam(2e-3, b1=0.0, b2=0.99, schedule="cosine")
    config.checkpoint.every = 2_000
    config.log.update(every=100, sample_every=2_000, eval_every=1_000, num_samples=100)
    config.sampling.batch_size = 250
    return config


def tiny(config: ConfigDict) -> ConfigDict:
    """The config cut down to seconds of training on the digits, for tests; widths are left to the caller."""
    config.data.update(name="digits", split="train", eval_split="test", image_size=8, channels=1, flip=False)
    config.data.batch_size = 16
    config.training.num_steps = 20
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
    config.sampling.update(batch_size=20, standing_passes=2, standing_batch=16)
    return config
