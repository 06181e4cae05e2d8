"""Kingma & Welling's variational autoencoder of MNIST (arXiv:1312.6114, section 5): one hidden layer of 500 tanh units
each way, minibatches of 100, one draw an image, 20 latent numbers (one of the paper's five sizes), black-and-white
pixels.

    python launch/train.py --config=configs/vae_mnist.py --workdir=runs/vae_mnist

Deviations: Adam in place of Adagrad, and those of `genjax.families.vae`. The variant "tiny" trains in seconds on 8x8
digits, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import autoencoders


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = autoencoders.vae()
    config.data.update({"name": "mnist", "image_size": 28, "channels": 1, "batch_size": 100})
    config.model.latent_dim = 20
    config.model.likelihood.name = "bernoulli"
    config.model.network = autoencoders.mlp(hidden=(500,), activation="tanh")
    config.training.num_steps = 100_000
    config.training.ema.decay = 0.999
    config.log.eval_every = 20_000
    config.sampling.batch_size = 250
    return autoencoders.select(config, variant)
