"""Improved DDPM (arXiv:2102.09672) on the digits: 4000 cosine steps, learned variance, samples in 25 of them.

    python launch/train.py --config=configs/iddpm_digits.py --workdir=runs/iddpm_digits
    python launch/evaluate.py --workdir=runs/iddpm_digits --num_steps=25 --likelihood=bound

Variants, to see what the learned variance is worth: "fixed_variance" (L_simple), and "vlb": L_vlb, with times drawn by
their share of the loss. "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import ddpm_digits
from genjax.configs.recipes import common


def get_config(variant: str = ""):
    """The config; `variant` is "", "fixed_variance", "vlb" or "tiny"."""
    common.expect_variant(variant, "fixed_variance", "vlb")
    config = ddpm_digits.get_config("tiny" if variant == "tiny" else "unconditional")
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 4000})
    config.model.update(conditional=False, label_dropout=0.0, learned_variance=True, vb_weight=4.0)  # T / 1000
    config.model.network.time_scale = 0.25  # the release rescales its 4000 steps to 1000 for the network
    config.sampling.sampler = ConfigDict({"name": "ancestral"})
    config.sampling.trajectory = False
    if variant == "fixed_variance":
        config.model.learned_variance = False
    if variant == "vlb":
        config.model.objective = "variational"
        config.model.time_sampler = ConfigDict({"name": "loss_aware", "history_per_step": 10})
    return config
