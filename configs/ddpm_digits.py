"""Class-conditional DDPM on scikit-learn's 1,797 real 8x8 digits, with classifier-free guidance: minutes on a laptop.

    python launch/train.py --config=configs/ddpm_digits.py --workdir=runs/ddpm_digits
    python launch/sample.py --workdir=runs/ddpm_digits --num_samples=1000

The variant "unconditional" has no labels: a classifier has to guide it (configs/classifier_digits.py). The
variant "tiny" (`--config=configs/ddpm_digits.py:tiny`) trains in seconds, for tests.
"""

from genjax.configs.recipes import common


def get_config(variant: str = ""):
    """The config; `variant` is "", "unconditional" or "tiny"."""
    common.expect_variant(variant, "unconditional")
    config = common.diffusion()
    config.data.name = "digits"
    config.data.image_size = 8
    config.data.channels = 1
    config.data.batch_size = 64

    model = config.model
    model.schedule.name = "cosine"
    model.conditional = True
    model.label_dropout = 0.1
    model.network.update(
        width=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(4,),
        num_heads=4,
        num_groups=8,
        adaptive_norm=True,
    )
    config.optimizer.model.update(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 2_500
    config.training.ema.decay = 0.995
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=500, num_samples=100)
    config.sampling.sampler.name = "dpmpp_2m"
    config.sampling.num_steps = "25"
    config.sampling.trajectory = True
    config.sampling.batch_size = 250

    if variant == "unconditional":
        model.update(conditional=False, label_dropout=0.0)
    if variant == "tiny":
        config.data.batch_size = 16
        model.network.update(width=16, channel_mult=(1, 1), num_heads=1)
        config.training.num_steps = 20
        config.checkpoint.every = 10
        config.log.update(every=5, sample_every=20, eval_every=20, num_samples=20)
        config.sampling.num_steps = "5"
        config.sampling.batch_size = 20
    return config
