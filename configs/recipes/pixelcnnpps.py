"""What the configs of PixelCNN++ share: the family's fields and their defaults, and the `tiny` variant."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def pixelcnnpp() -> ConfigDict:
    """`common.base()` with the fields of the pixelcnnpp family, set as in its paper (arXiv:1701.05517)."""
    config = common.base()
    config.family = "pixelcnnpp"
    config.model = model = ConfigDict()
    model.num_components = 10  # logistics in the mixture of each pixel
    model.conditional = False  # on the class label, which conditions every block
    model.dtype = "float32"  # of the network's computation; parameters and the last layer stay float32
    model.network = network = ConfigDict()
    network.width = 160  # features of each of the two streams
    network.num_res_blocks = 5  # gated blocks a level on the way down; one more a level on the way up
    network.num_levels = 3  # resolutions; the size of the images must be divisible by 2^(num_levels - 1)
    network.dropout = 0.5  # rate in each block
    network.remat = False  # recompute each block's inner results in the backward pass, to save memory
    config.optimizer = ConfigDict({"model": common.adam(1e-3, b1=0.95, b2=0.9995)})
    config.training.ema = ConfigDict({"decay": 0.9995, "warmup": False})
    config.sampling = ConfigDict()
    config.sampling.batch_size = 64  # images sampled at once, over all devices
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
