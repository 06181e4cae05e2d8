"""ADM on ImageNet at 64 pixels, class-conditional, 296M parameters (arXiv:2105.05233). FID 2.07 unguided.

Train it, or try its small variant:

    python launch/train.py --config=configs/adm_imagenet64.py --workdir=runs/adm_imagenet64
    python launch/train.py --config=configs/adm_imagenet64.py:tiny --workdir=runs/tiny    # seconds, on a CPU
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm(64)
    config.data.batch_size = 2048
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    config.model.network.update(
        {
            "width": 192,
            "channel_mult": (1, 2, 3, 4),
            "num_res_blocks": 3,
            "dropout": 0.1,
            "new_attention_order": True,
        }
    )
    config.optimizer.model.learning_rate = 3e-4
    config.training.num_steps = 540_000
    return unets.select(config, variant)
