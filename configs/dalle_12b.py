"""DALL-E of the paper's size (arXiv:2102.12092, appendix B): 12 billion parameters on 256 devices.

64 layers of 62 heads with 64 features each; 256 tokens of text out of 16,384 and 32x32 codes of
configs/dvae_dalle.py out of 8,192. AdamW with b1 .9, b2 .96, weight decay .045, gradients clipped at 4, learning rate
4.5e-4 after 5,000 steps of warm-up; batches of 1,024, 430,000 steps, moving average .999, 10% BPE dropout. The paper
halves the learning rate whenever the loss stops to fall; here it falls along a cosine. The paper's pairs from the
internet aren't public: COCO's captions stand in for them.

    python launch/plan.py --config=configs/dalle_12b.py --devices=256

shows how it is cut up. 62 heads don't divide by more than 2: `tensor` is 2, all else `fsdp`. The variant "tiny" trains
in seconds on drawn scenes.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, dalles


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = dalles.dalle()
    config.data.update(name="coco_captions", eval_split="val", image_size=256, crop="random", batch_size=1024)
    config.data.tokenizer = common.bpe(vocab_size=16_384, length=256, dropout=0.1)
    config.model.network.update(width=3_968, depth=64, num_heads=62, remat=True)
    config.model.text_dropout = 0.0
    config.model.dtype = "bfloat16"
    config.optimizer.model.update(warmup_steps=5_000, schedule="cosine")
    config.training.num_steps = 430_000
    config.training.ema.update(decay=0.999, warmup=False)
    config.mesh.update(data=1, fsdp=128, tensor=2)
    return dalles.select(config, variant)
