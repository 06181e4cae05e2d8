"""What the configs of DDPM, Improved DDPM, ADM and its classifiers share: one recipe a paper, and the `tiny` variant
of all of them."""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def ddpm() -> ConfigDict:
    """DDPM (arXiv:2006.11239, appendix B): L_simple, fixed large variance, Adam with warm-up and clipping."""
    config = common.diffusion()
    config.model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02})
    network(config, variant="ddpm", width=128, num_res_blocks=2, attention_resolutions=(16,))
    config.optimizer.model = common.adam(2e-4, warmup_steps=5_000, clip_norm=1.0)
    config.training.ema.warmup = False
    config.sampling.sampler = ConfigDict({"name": "ancestral", "variance": "fixed_large"})
    config.sampling.num_steps = "1000"
    return _rhythm(config)


def iddpm() -> ConfigDict:
    """Improved DDPM (arXiv:2102.09672): L_hybrid with learned variance, cosine schedule of 4000 steps."""
    config = common.diffusion()
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 4000})
    config.model.learned_variance = True
    network(config, width=128, num_res_blocks=3, attention_resolutions=(16, 8), num_heads=4, adaptive_norm=True)
    config.optimizer.model = common.adam(1e-4)  # the official AdamW with weight decay 0
    config.training.ema.warmup = False
    config.sampling.sampler = ConfigDict({"name": "ancestral", "variance": "learned_range"})
    config.sampling.num_steps = "4000"
    return _rhythm(config)


def adm(image_size: int) -> ConfigDict:
    """ADM on ImageNet (arXiv:2105.05233, the flags of the official release), but for what differs by size.

    Class-conditional, learned variance, 1000 steps, adaptive group norm, up- and downsampling in residual
    blocks, attention at 32, 16 and 8 pixels with 64 channels a head, EMA .9999. Trained in half precision
    there, in bfloat16 here.
    """
    config = common.diffusion()
    config.data.name = "imagenet2012"
    config.data.eval_split = "validation"
    config.data.image_size = image_size
    config.data.flip = True
    config.data.batch_size = 256
    config.model.schedule = ConfigDict({"name": "linear_beta", "num_steps": 1000})
    config.model.learned_variance = True
    config.model.conditional = True
    config.model.dtype = "bfloat16"
    network(
        config,
        width=256,
        num_res_blocks=2,
        attention_resolutions=(32, 16, 8),
        head_channels=64,
        adaptive_norm=True,
        resblock_updown=True,
    )
    config.optimizer.model = common.adam(1e-4)  # the official AdamW with weight decay 0
    config.training.ema.warmup = False
    config.sampling.sampler = ConfigDict({"name": "ancestral", "variance": "learned_range"})
    config.sampling.num_steps = "250"
    return _rhythm(config)


def adm_upsample(image_size: int, low_res: int) -> ConfigDict:
    """ADM-U: ADM with 192 channels that upsamples ImageNet's images (arXiv:2105.05233, the flags of the release)."""
    config = adm(image_size)
    config.model.low_res = common.low_res(low_res)
    config.model.network.update({"width": 192, "channel_mult": (1, 1, 2, 2, 4, 4), "remat": True})
    return config


def adm_classifier(image_size: int) -> ConfigDict:
    """ADM's classifiers of noisy ImageNet (arXiv:2105.05233, the release's flags), but for what differs by size.

    The downward half of ADM's U-Net with 128 channels, trained on random crops with decoupled weight decay and a
    learning rate that falls to 0; no moving average. Deviation: weight decay spares biases and gains of norms.
    """
    config = common.noisy_classifier()
    config.data.name = "imagenet2012"
    config.data.eval_split = "validation"
    config.data.image_size = image_size
    config.data.crop = "random"
    config.data.flip = True
    config.data.batch_size = 256
    config.model.dtype = "bfloat16"
    network(
        config,
        width=128,
        num_res_blocks=2,
        attention_resolutions=(32, 16, 8),
        head_channels=64,
        adaptive_norm=True,
        resblock_updown=True,
    )
    config.optimizer.model = common.adam(3e-4, name="adamw", weight_decay=0.05, schedule="linear")
    config.training.ema.decay = 0.0
    config.checkpoint.every = config.log.eval_every = 10_000
    return config


def network(config: ConfigDict, **fields) -> None:
    """Set the fields of the network in a config, all of them, so that each can be overridden.

    They are those of `genjax.nn.unet_trunk.Trunk`.
    """
    config.model.network.update(
        {
            "width": 128,
            "channel_mult": (1, 2, 2, 2),
            "num_res_blocks": 2,
            "attention_resolutions": (16,),
            "num_heads": 1,
            "head_channels": 0,  # channels a head; 0 = num_heads heads
            "dropout": 0.0,
            "adaptive_norm": False,
            "resblock_updown": False,
            "new_attention_order": False,
            "variant": "adm",
            "num_groups": 32,
            "time_scale": 1.0,  # the network sees t times this
            "remat": False,  # recompute blocks in the backward pass, to save memory
            **fields,
        }
    )


def select(config: ConfigDict, variant: str) -> ConfigDict:
    """The config itself for the variant "", its small sister for "tiny".

    "tiny" keeps the paper's kind of network, objective, schedule and sampler, and shrinks the rest to
    scikit-learn's 8x8 digits, which need no download: two levels of 16 and 32 channels, 50 steps of 32
    images, 25 sampling steps.

    Raises:
        ValueError: for another variant.
    """
    return common.select(config, variant, _shrink)


def _rhythm(config: ConfigDict) -> ConfigDict:
    """Checkpoints, samples and evaluations every 10,000 steps."""
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    return config


def _shrink(config: ConfigDict) -> None:
    config.data.update({"name": "digits", "split": "train", "eval_split": "test", "image_size": 8})
    config.data.update({"channels": 1, "crop": "center", "flip": False, "batch_size": 32})
    net = config.model.network
    net.update({"width": 16, "channel_mult": (net.channel_mult[0], 2), "num_res_blocks": 1})
    net.update({"attention_resolutions": (4,), "num_groups": 4})
    net.head_channels = 8 if net.head_channels else 0
    if config.model.get("low_res"):
        config.model.low_res.size = 4
    config.model.dtype = "float32"
    optimizer = config.optimizer.model
    optimizer.update({"learning_rate": 1e-3, "warmup_steps": min(5, optimizer.warmup_steps)})
    config.training.update({"num_steps": 50, "microbatches": 1})
    config.training.ema.decay = min(config.training.ema.decay, 0.9)
    config.checkpoint.every = 25
    config.log.update({"every": 10, "eval_every": 50})
    if config.family == "diffusion":
        config.log.update({"sample_every": 50, "num_samples": 16})
        config.sampling.update({"num_steps": "25", "batch_size": 16})
