"""BEiT-B, pretrained on ImageNet at 224 pixels as in its paper (arXiv:2106.08254, appendix): 91,965,776 parameters.

800 epochs in batches of 2048, AdamW with a decay of .05, 10 epochs of warm-up to 1.5e-3 and half a cosine to 1e-5,
gradients clipped at 3, drop path .1. The tokenizer is DALL-E's dVAE, which sees 112 pixels: 14x14 codes out of 8192 for
14x14 patches. Features for linear classifiers are those of the ninth block.

    python launch/train.py --config=configs/dvae_dalle.py --workdir=runs/dvae
    python launch/train.py --config=configs/beit_base.py --workdir=runs/beit --config.stages.tokenizer.workdir=runs/dvae

The variant "tiny" trains in seconds on 8x8 digits, for tests, on the tokenizer configs/vqvae_digits.py:tiny.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import beits, common

STEPS_PER_EPOCH = 1_281_167 / 2048


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = beits.beit()
    config.data.update(name="imagenet2012", eval_split="validation", image_size=224, crop="random", flip=True)
    config.data.batch_size = 2048
    config.model.update(tokenizer_size=112, feature_depth=9, dtype="bfloat16")
    config.optimizer.model = common.adam(
        1.5e-3, name="adamw", weight_decay=0.05, clip_norm=3.0, schedule="cosine", end_factor=1e-5 / 1.5e-3
    )
    config.optimizer.model.warmup_steps = int(10 * STEPS_PER_EPOCH)
    config.training.num_steps = int(800 * STEPS_PER_EPOCH)
    config.checkpoint.every = config.log.sample_every = config.log.eval_every = 10_000
    return beits.select(config, variant)
