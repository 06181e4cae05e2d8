"""EDM (arXiv:2206.00364) on CIFAR-10, by class: 18 Heun steps, 35 network evaluations, FID 1.79 in the paper.

    python launch/train.py --config=configs/edm_cifar10.py --workdir=runs/edm_cifar10
    python launch/train.py --config=configs/edm_cifar10.py:tiny --workdir=runs/tiny      # seconds, on a CPU

As in the paper: preconditioning and weighting with sigma_data .5, log sigma
~ N(-1.2, 1.2^2), batches of 512, 200 million images, Adam at 1e-3 after a warm-up over 10 million images, dropout
.13, Karras' grid of 18 levels from 80 to .002, deterministic Heun steps.

What differs: the network is the U-Net of ADM with 128 channels a level of (2, 2, 2), 4 blocks a level and attention at
16 pixels, where the paper's DDPM++ adds rescaled skip connections and resampling filters (56M parameters there, 61M
here); the augmentation by geometric transformations, with its conditioning of the network, is only a flip here; the
moving average has a constant decay after its warm-up, .9993 (a half-life of 500,000 images).
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = common.diffusion()
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.data.flip = True
    config.data.batch_size = 512
    config.model.schedule = ConfigDict({"name": "edm", "sigma_min": 0.002, "sigma_max": 80.0})
    config.model.parameterization = ConfigDict({"name": "edm", "sigma_data": 0.5})
    config.model.weighting = ConfigDict({"name": "edm", "sigma_data": 0.5})
    config.model.time_sampler = ConfigDict({"name": "lognormal", "mean": -1.2, "std": 1.2})
    config.model.conditional = True
    unets.network(
        config,
        width=128,
        channel_mult=(2, 2, 2),
        num_res_blocks=4,
        attention_resolutions=(16,),
        adaptive_norm=True,
        resblock_updown=True,
        dropout=0.13,
    )
    config.optimizer.model = common.adam(1e-3, warmup_steps=19_531)
    config.training.num_steps = 390_625
    config.training.ema.decay = 0.9993
    config.sampling.sampler = ConfigDict({"name": "heun"})
    config.sampling.num_steps = "karras18"
    config.sampling.threshold = ConfigDict({"name": "none"})
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    config = unets.select(config, variant)
    if variant == "tiny":
        config.sampling.num_steps = "karras4"
    return config
