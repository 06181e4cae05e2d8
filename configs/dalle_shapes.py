"""DALL-E of drawn scenes: captions to the 8x8 codes of configs/vqvae_shapes.py, on a laptop.

    python launch/train.py --config=configs/dalle_shapes.py --workdir=runs/dalle \
        --config.stages.tokenizer.workdir=runs/vqvae_shapes
    python launch/sample.py --workdir=runs/dalle --prompt "a small red heart on the left"

Words are whole tokens mostly; without BPE dropout, which takes them apart. The variant "tiny"
(`--config=configs/dalle_shapes.py:tiny`) trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalles


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalles.dalle()
    config.data.update(name="captioned_shapes/32", batch_size=32)
    config.data.tokenizer = common.bpe(vocab_size=512, length=13)
    config.model.network.update(width=128, depth=4, num_heads=4, activation="gelu_tanh", dropout=0.1)
    config.optimizer.model.update(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0, schedule="cosine", b2=0.98)
    config.training.num_steps = 4_500
    config.training.ema.decay = 0.995
    config.checkpoint.every = 1_000
    config.log.update(every=100, sample_every=1_000, eval_every=1_000, num_samples=64)
    config.sampling.guidance_scale = 2.0
    config.sampling.top_p = 0.8
    config.sampling.batch_size = 128
    return dalles.select(config, variant)
