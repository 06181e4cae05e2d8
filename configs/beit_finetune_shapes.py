"""Which of 8 shapes a drawn scene has, from 500 labels: the BEiT of configs/beit_shapes.py fine-tuned, or from scratch.

    python launch/train.py --config=configs/beit_finetune_shapes.py --workdir=runs/finetuned \\
        --config.init_from=runs/beit_shapes
    python launch/train.py --config=configs/beit_finetune_shapes.py:scratch --workdir=runs/scratch

Other numbers of labels: `--config.data.split="train[:100]"`. From scratch all blocks learn at the same rate. The
variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import beits, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "scratch" or "tiny"."""
    common.expect_variant(variant, "scratch")
    config = beits.classifier()
    config.data.update(name="captioned_shapes/32_shape", split="train[:500]", image_size=32, batch_size=50)
    config.model.network = beits.scenes_network(drop_path=0.1)
    config.optimizer.model = common.adam(
        2e-3, name="adamw", weight_decay=0.05, layer_decay=0.75, warmup_steps=50, clip_norm=3.0, schedule="cosine"
    )
    config.training.num_steps = 500
    config.checkpoint.every = 500
    config.log.update(every=50, eval_every=100)
    if variant == "scratch":
        config.optimizer.model.layer_decay = 1.0
        return config
    config = beits.select(config, variant)
    if variant == "tiny":
        config.data.update(name="captioned_shapes/32_shape", split="train[:64]", image_size=32, channels=3)
        config.model.network.patch_size = 4
    return config
