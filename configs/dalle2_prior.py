"""unCLIP's diffusion prior at the paper's size (arXiv:2204.06125, table 3): 1B parameters.

    python launch/train.py --config=configs/dalle2_prior.py --config.stages.clip.workdir=CLIP --workdir=DIR

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalle2s


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalle2s.paper_data(dalle2s.prior(), image_size=224, batch_size=4096)
    config.model.network.update(width=2048, depth=24, num_heads=32, remat=True)
    config.model.scale = 17.2
    config.model.dtype = "bfloat16"
    config.optimizer.model = common.adam(1.1e-4, name="adamw", b2=0.96, eps=1e-6, weight_decay=0.06)
    config.training.num_steps = 600_000
    return dalle2s.select(config, variant)
