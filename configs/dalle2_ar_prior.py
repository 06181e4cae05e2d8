"""unCLIP's autoregressive prior at the paper's size (arXiv:2204.06125, table 3): 319 codes of 1,024 buckets.

    python launch/train.py --config=configs/dalle2_ar_prior.py --config.stages.clip.workdir=CLIP --workdir=DIR

Its width of 1,664 is cut into 128 pieces at most: `--config.mesh.fsdp=128`, not 256. The variant "tiny" trains in
seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalle2s


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalle2s.paper_data(dalle2s.ar_prior(), image_size=224, batch_size=4096)
    config.model.network.update(width=1664, depth=24, num_heads=26, remat=True)
    config.model.dtype = "bfloat16"
    config.optimizer.model = common.adam(1.6e-4, name="adamw", b2=0.91, eps=1e-10, weight_decay=0.04)
    config.training.num_steps = 1_000_000
    config.training.ema.decay = 0.999
    return dalle2s.select(config, variant)
