"""Variational autoencoder of scikit-learn's 1,797 real 8x8 digits: a minute on a laptop.

    python launch/train.py --config=configs/vae_digits.py --workdir=runs/vae_digits
    python launch/sample.py --workdir=runs/vae_digits --num_samples=1000

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import autoencoders


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = autoencoders.digits(autoencoders.vae())
    config.model.latent_dim = 16
    config.model.beta = 2.0
    config.model.network = autoencoders.mlp(hidden=(256, 256, 256, 256), activation="silu")
    config.optimizer.model.update({"learning_rate": 1e-3, "warmup_steps": 100, "schedule": "cosine"})
    config.optimizer.model.clip_norm = 100.0
    config.training.num_steps = 6_000
    config.log.update({"sample_every": 2_000, "eval_every": 2_000})
    config.sampling.batch_size = 250
    return autoencoders.select(config, variant)
