"""What the configs of DiT (arXiv:2212.09748) share: the sizes of the network, the recipe, and the `tiny` variant."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common

SIZES = {
    "S": {"width": 384, "depth": 12, "num_heads": 6},
    "B": {"width": 768, "depth": 12, "num_heads": 12},
    "L": {"width": 1024, "depth": 24, "num_heads": 16},
    "XL": {"width": 1152, "depth": 28, "num_heads": 16},
}
"""By the paper's letter (table 1); a size is written with its patches, as in DiT-XL/2."""


def dit(size: str, patch_size: int) -> ConfigDict:
    """The paper's recipe: linear schedule of 1000 steps, learned variance, constant learning rate, no regularisation.

    Args:
        size: one of `SIZES`.
        patch_size: pixels along a side of a patch.
    """
    config = common.diffusion()
    config.model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000})
    config.model.learned_variance = True
    config.model.conditional = True
    config.model.label_dropout = 0.1
    network(config, patch_size=patch_size, **SIZES[size])
    config.optimizer.model = common.adam(1e-4)  # the original's AdamW with weight decay 0
    config.training.ema.warmup = False
    config.sampling.sampler = ConfigDict({"name": "ancestral", "variance": "learned_range"})
    config.sampling.num_steps = "250"
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    return config


def network(config: ConfigDict, **fields) -> None:
    """Set the fields of the network in a config, all of them, so that each can be overridden: those of
    `genjax.nn.dit.DiT`."""
    config.model.network = ConfigDict(
        {
            "name": "dit",
            "width": 384,
            "depth": 12,
            "num_heads": 6,
            "patch_size": 2,
            "mlp_ratio": 4,
            "time_scale": 1.0,  # the network sees t times this
            "remat": False,  # recompute blocks in the backward pass, to save memory
            **fields,
        }
    )


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny": the digits, two blocks of width 16, 20 steps.

    Raises:
        ValueError: for another variant.
    """
    common.expect_variant(variant)
    if variant == "tiny":
        config.data.update({"name": "digits", "split": "train", "eval_split": "test", "image_size": 8})
        config.data.update({"channels": 1, "flip": False, "batch_size": 16})
        config.model.network.update({"width": 16, "depth": 2, "num_heads": 2, "patch_size": 2})
        config.model.dtype = "float32"
        config.optimizer.model.update({"learning_rate": 1e-3, "warmup_steps": 0})
        config.training.num_steps = 20
        config.training.ema.decay = 0.9
        config.checkpoint.every = 10
        config.log.update({"every": 5, "sample_every": 20, "eval_every": 20, "num_samples": 20})
        config.sampling.update({"num_steps": "5", "batch_size": 20})
    return config
