"""BigGAN on CIFAR-10, as the authors' PyTorch release: 4,304,387 + 4,207,361 parameters.

    python launch/train.py --config=configs/biggan_cifar10.py --workdir=runs/biggan_cifar10

Its settings: tables of gains and biases for each class instead of a shared embedding, the latent at the start only, no
attention, no orthogonal regularisation, 500 epochs of batches of 64 with one discriminator step. (Its README reports an
IS of 9.22 and an FID of 14.73 in DDPM's table.) The variant "tiny" trains on the 8x8 digits in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import biggans, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = biggans.biggan(32)
    config.data.update(name="cifar10", eval_split="test", batch_size=64)
    config.model.update(discriminator_steps=1, orthogonal=0.0, dtype="float32")
    config.model.generator.update(width=64, z_dim=128, shared_dim=0, attention_resolutions=())
    config.model.discriminator.update(width=64, num_downsamples=2, attention_resolutions=())
    config.optimizer.generator = common.adam(2e-4, b1=0.0)
    config.optimizer.discriminator = common.adam(2e-4, b1=0.0)
    config.training.num_steps = 500 * 50_000 // 64
    return biggans.select(config, variant)
