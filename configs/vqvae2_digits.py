"""VQ-VAE-2 on scikit-learn's 8x8 digits: 2x2 codes at the top, 4x4 below. Priors over them draw the images.

    python launch/train.py --config=configs/vqvae2_digits.py --workdir=runs/vqvae2_digits
    python launch/train.py --config=configs/vqvae2_prior_digits.py --workdir=runs/vqvae2_prior_digits \
        --config.stages.tokenizer.workdir=runs/vqvae2_digits

The variant "tiny" (`--config=configs/vqvae2_digits.py:tiny`) trains in seconds, for tests.
"""

from genjax.configs.recipes import codebooks, common


def get_config(variant: str = ""):
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    config = codebooks.vqvae2()
    config.data.name = "digits"
    config.data.image_size = 8
    config.data.channels = 1
    config.data.batch_size = 64
    config.model.update(width=64, downs=(1, 1), num_res_blocks=1, res_width=32, data_variance=0.564)
    config.model.codebook.update(num_codes=64, dim=16, restart_threshold=0.1)
    config.optimizer.model.update(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine")
    config.training.num_steps = 2_000
    config.checkpoint.every = 500
    config.log.update(every=50, sample_every=500, eval_every=500, num_samples=100)

    return codebooks.shrink(config) if variant == "tiny" else config
