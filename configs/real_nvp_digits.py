"""RealNVP on scikit-learn's 1,797 real 8x8 digits: exact likelihoods, minutes on a laptop.

    python launch/train.py --config=configs/real_nvp_digits.py --workdir=runs/real_nvp_digits
    python launch/sample.py --workdir=runs/real_nvp_digits --num_samples=1000

The 445 held-out images cost 4.77 bits/dim with noise over their bins (4.33 in training: longer runs overfit), a bound
of the discrete bits/dim. So is the variational bound of the Improved DDPM, 3.94 (64 of these, discrete decoder), and
17 equally likely levels have 4.09: a smooth density can't stay within levels that are 16 apart.

The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = common.base()
    config.family = "real_nvp"
    config.data.update(name="digits", image_size=8, channels=1, batch_size=64)
    config.model = ConfigDict({"dtype": "float32", "network": ConfigDict()})
    config.model.network.update(width=24, num_res_blocks=1, num_scales=2, num_couplings=3, num_groups=1, alpha=0.05)
    config.optimizer = ConfigDict({"model": common.adam(1e-3, warmup_steps=100, schedule="cosine", clip_norm=10.0)})
    config.training.num_steps = 1_200
    config.training.ema.update(decay=0.995, warmup=True)
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=250, num_samples=100)
    config.sampling = ConfigDict({"batch_size": 250})

    if variant == "tiny":
        config.data.batch_size = 16
        config.model.network.update(width=4, num_res_blocks=1, num_couplings=2)
        config.training.num_steps = 20
        config.checkpoint.every = 10
        config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
        config.sampling.batch_size = 20
    return config
