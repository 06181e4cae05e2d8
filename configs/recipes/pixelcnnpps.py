"""What the configs of PixelCNN++ share: the family's fields, which `genjax.families.pixelcnnpp.Settings` and
`genjax.nn.pixelcnnpp.PixelCNNpp` explain, and the `tiny` variant."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def pixelcnnpp() -> ConfigDict:
    """`common.base()` with the fields of the pixelcnnpp family, set as in its paper (arXiv:1701.05517)."""
    config = common.base()
    config.family = "pixelcnnpp"
    config.model = model = ConfigDict()
    model.num_components = 10
    model.conditional = False
    model.dtype = "float32"
    model.network = network = ConfigDict()
    network.width = 160
    network.num_res_blocks = 5
    network.num_levels = 3
    network.dropout = 0.5
    network.remat = False
    config.optimizer = ConfigDict({"model": common.adam(1e-3, b1=0.95, b2=0.9995)})
    config.training.ema = ConfigDict({"decay": 0.9995, "warmup": False})
    config.sampling = ConfigDict()
    config.sampling.batch_size = 64
    return config


def tiny(config: ConfigDict) -> ConfigDict:
    """The same kind of model, on the digits, trained in seconds."""
    config.data.update(name="digits", eval_split="test", image_size=8, channels=1, batch_size=16, flip=False)
    config.model.num_components = 3
    config.model.network.update(width=8, num_res_blocks=1, num_levels=2)
    config.training.num_steps = 20
    config.checkpoint.every = 10
    config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
    config.sampling.batch_size = 20
    return config
