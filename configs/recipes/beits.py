"""The fields of BEiT, pretrained and fine-tuned; nothing is sampled from them.

What they mean is in the `Settings` of `genjax.families.beit` and `image_classifier`, and in `genjax.nn.beit.Beit`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def network(**settings) -> ConfigDict:
    """The transformer, at the size of BEiT-B (arXiv:2106.08254)."""
    config = ConfigDict()
    config.patch_size = 16
    config.width = 768
    config.depth = 12
    config.num_heads = 12
    config.mlp_ratio = 4
    config.layer_scale = 0.1
    config.init_std = 0.02
    config.drop_path = 0.1
    config.remat = False
    config.update(settings)
    return config


def scenes_network(**settings) -> ConfigDict:
    """The transformer for scenes of 32 pixels: narrow, so its fresh branches are larger than in the paper."""
    size = {"patch_size": 4, "width": 64, "depth": 4, "num_heads": 4}
    return network(**size, layer_scale=1.0, init_std=0.05, **settings)


def beit() -> ConfigDict:
    """`base()` with the fields of the beit family."""
    config = common.base()
    config.family = "beit"
    config.stages.tokenizer = ConfigDict({"workdir": ""})  # the run of a dvae or vqvae; has to be given
    config.model = model = ConfigDict()
    model.network = network()
    model.masking = masking = ConfigDict()
    masking.num_masked = 75
    masking.min_block = 16
    masking.min_aspect = 0.3
    model.tokenizer_size = 0
    model.feature_depth = 0
    model.dtype = "float32"
    config.optimizer = ConfigDict({"model": common.adam(1.5e-3, name="adamw", weight_decay=0.05, clip_norm=3.0)})
    config.training.ema.decay = 0.0
    return config


def classifier() -> ConfigDict:
    """`base()` with the fields of the image_classifier family: BEiT fine-tuned, or from scratch."""
    config = common.base()
    config.family = "image_classifier"
    config.model = model = ConfigDict()
    model.network = network()
    model.label_smoothing = 0.0
    model.dtype = "float32"
    config.optimizer = ConfigDict({"model": common.adam(1e-3, name="adamw", weight_decay=0.05, layer_decay=0.65)})
    config.training.ema.decay = 0.0
    config.log.sample_every = 0
    return config


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny": in seconds, on 8x8 digits.

    Args:
        config: of either family.
        variant: which.

    Raises:
        ValueError: for another variant.
    """
    return common.select(config, variant, _shrink)


def _shrink(config: ConfigDict) -> None:
    config.data.update(name="digits", split="train", eval_split="test", image_size=8, channels=1)
    config.data.update(crop="center", flip=False, batch_size=16)
    config.model.update(dtype="float32")
    config.model.network.update(patch_size=2, width=16, depth=2, num_heads=2, remat=False)
    if config.family == "beit":
        config.model.masking.update(num_masked=6, min_block=2)
        config.model.update(tokenizer_size=0, feature_depth=min(1, config.model.feature_depth))
    config.optimizer.model.update(learning_rate=1e-3, warmup_steps=0)
    config.training.update(num_steps=20, microbatches=1)
    config.checkpoint.every = 10
    config.log.update(every=5, eval_every=20, num_samples=16, sample_every=min(20, config.log.sample_every))
