"""A small class-conditional DiT on the 8x8 digits: 16 tokens of 2x2 pixels. Minutes on a laptop.

    python launch/train.py --config=configs/dit_digits.py --workdir=runs/dit_digits
    python launch/sample.py --workdir=runs/dit_digits --num_samples=1000

As configs/ddpm_digits.py, but for the network. The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import ddpm_digits
from genjax.configs.recipes import dits


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = ddpm_digits.get_config()
    dits.network(config, width=96, depth=4, num_heads=4)
    return dits.select(config, variant)
