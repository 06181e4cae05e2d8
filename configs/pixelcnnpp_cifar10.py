"""PixelCNN++ on CIFAR-10 at the size of its paper (arXiv:1701.05517): 53,659,080 parameters, 2.92 bits/dim there.

    python launch/train.py --config=configs/pixelcnnpp_cifar10.py --workdir=runs/pixelcnnpp_cifar10

Variants: "conditional" on the class, and "tiny", which trains in seconds.
"""

from genjax.configs.recipes import common, pixelcnnpps


def get_config(variant: str = ""):
    """The config; `variant` is "", "conditional" or "tiny"."""
    common.expect_variant(variant, "conditional")
    config = pixelcnnpps.pixelcnnpp()
    config.data.name = "cifar10"
    config.data.batch_size = 128  # the released code: 16 on each of 8 GPUs
    config.model.conditional = variant == "conditional"
    config.training.num_steps = 2_000_000  # 5,000 epochs, the most that the released code trains for
    config.checkpoint.every = 10_000
    config.log.update(sample_every=10_000, eval_every=10_000)
    return pixelcnnpps.tiny(config) if variant == "tiny" else config
