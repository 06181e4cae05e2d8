"""ADM on LSUN bedrooms at 256 pixels, unconditional, 553M parameters (arXiv:2105.05233). FID 1.90 with 1000 steps.

    python launch/train.py --config=configs/adm_lsun256.py --workdir=runs/adm_lsun256
    python launch/train.py --config=configs/adm_lsun256.py:tiny --workdir=runs/tiny      # seconds, on a CPU

Horses and cats have the same setting, with 250K steps (FID 2.57) and 200K (5.57):
`--config.data.name=lsun/cat --config.training.num_steps=200000`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm(256)
    config.data.name = "lsun/bedroom"
    config.model.conditional = False
    config.model.network.update({"channel_mult": (1, 1, 2, 2, 4, 4), "dropout": 0.1, "remat": True})
    config.training.num_steps = 500_000
    config.sampling.num_steps = "1000"
    return unets.select(config, variant)
