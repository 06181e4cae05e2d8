"""ADM's classifier of noisy ImageNet at 64 pixels, 65M parameters (arXiv:2105.05233).

It guides configs/adm_imagenet64.py:

    python launch/train.py --config=configs/adm_classifier_imagenet64.py --workdir=runs/classifier64
    python launch/sample.py --workdir=runs/adm_imagenet64 --guide=classifier:runs/classifier64:1.0
    python launch/train.py --config=configs/adm_classifier_imagenet64.py:tiny --workdir=runs/tiny  # seconds, on a CPU

1.0 is the release's scale for 250 steps.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import unets


def get_config(variant: str = "") -> ConfigDict:
    """The setting; variant "tiny" for a trial."""
    config = unets.adm_classifier(64)
    config.data.batch_size = 1024
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    config.model.network.channel_mult = (1, 2, 3, 4)
    config.model.network.num_res_blocks = 4
    config.optimizer.model.update({"learning_rate": 6e-4, "weight_decay": 0.2})
    config.training.num_steps = 300_000
    return unets.select(config, variant)
