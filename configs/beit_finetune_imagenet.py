"""BEiT-B fine-tuned on ImageNet at 224 pixels (arXiv:2106.08254; the settings of its release): 86,530,984 parameters.

100 epochs in batches of 1024, AdamW with a decay of .05, 20 epochs of warm-up to 4e-3 and half a cosine to 1e-6; each
block learns at .65 of the rate of the one above. Labels are smoothed by .1, drop path is .1.

    python launch/train.py --config=configs/beit_finetune_imagenet.py --workdir=runs/beit_finetune \\
        --config.init_from=runs/beit

Without mixup, cutmix, erasing and RandAugment, which the paper adds. The variant "tiny" trains in seconds on 8x8
digits, from scratch.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import beits, common

STEPS_PER_EPOCH = 1_281_167 / 1024


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = beits.classifier()
    config.data.update(name="imagenet2012", eval_split="validation", image_size=224, crop="random", flip=True)
    config.data.batch_size = 1024
    config.model.update(label_smoothing=0.1, dtype="bfloat16")
    config.optimizer.model = common.adam(
        4e-3, name="adamw", weight_decay=0.05, layer_decay=0.65, schedule="cosine", end_factor=1e-6 / 4e-3
    )
    config.optimizer.model.warmup_steps = int(20 * STEPS_PER_EPOCH)
    config.training.num_steps = int(100 * STEPS_PER_EPOCH)
    config.checkpoint.every = config.log.eval_every = 5_000
    return beits.select(config, variant)
