"""Class-conditional BigGAN on scikit-learn's 1,797 real 8x8 digits: minutes on a laptop.

    python launch/train.py --config=configs/biggan_digits.py --workdir=runs/biggan_digits
    python launch/sample.py --workdir=runs/biggan_digits --num_samples=1000

With 1,352 training images the discriminator would learn them by heart: it sees them, and generated ones, with a
square cut out (DiffAugment; moving them too leaves samples out of place), and R1 keeps its gradient at the real ones
small. Learning rates fall along half cosines.

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import biggans, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = biggans.biggan()
    config.data.update(name="digits", eval_split="test", image_size=8, channels=1, batch_size=64)
    config.model.update(discriminator_steps=1, orthogonal=0.0, r1=0.05, dtype="float32")
    config.model.augment.update(policy="cutout", cutout=0.375, fill=-1.0)
    config.model.generator.update(width=32, channel_mult=(2, 2, 1), bottom_size=2, z_dim=48, shared_dim=16)
    config.model.generator.attention_resolutions = ()
    config.model.discriminator.update(width=32, channel_mult=(1, 2, 2), num_downsamples=1, attention_resolutions=())
    config.optimizer.generator = common.adam(1e-3, b1=0.0, b2=0.99, schedule="cosine")
    config.optimizer.discriminator = common.adam(2e-3, b1=0.0, b2=0.99, schedule="cosine")
    config.training.num_steps = 2_400
    config.training.ema.decay = 0.995
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=500, num_samples=100)
    config.sampling.batch_size = 250
    return biggans.select(config, variant)
