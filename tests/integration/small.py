"""As `configs/ddpm_digits.py:tiny`, but with the smallest network there is: one block of DiT over 16 tokens."""

from ml_collections import ConfigDict

from genjax.configs import ddpm_digits
from genjax.configs.recipes import dits


def get_config() -> ConfigDict:
    """The config."""
    config = ddpm_digits.get_config("tiny")
    # Wide enough that there is something to shard.
    dits.network(config, width=32, depth=1, num_heads=2, mlp_ratio=4)
    return config
