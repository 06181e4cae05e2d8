"""unCLIP's decoder at the paper's size (arXiv:2204.06125, table 3): 3.5B parameters, 64 pixels.

    python launch/train.py --config=configs/dalle2_decoder64.py --config.stages.clip.workdir=CLIP --workdir=DIR

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalle2s, unets


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalle2s.paper_data(dalle2s.decoder(), image_size=64, batch_size=2048)
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    config.model.learned_variance = True
    config.model.dtype = "bfloat16"
    unets.network(
        config, width=512, channel_mult=(1, 2, 3, 4), num_res_blocks=3, attention_resolutions=(32, 16, 8),
        head_channels=64, adaptive_norm=True, resblock_updown=True, remat=True,
    )  # fmt: skip
    config.optimizer.model = common.adam(1.2e-4)
    config.training.num_steps = 800_000
    config.sampling.sampler = ConfigDict({"name": "ancestral", "variance": "learned_range"})
    config.sampling.num_steps = "250"
    config.sampling.guidance_scale = 1.25
    return dalle2s.select(config, variant)
