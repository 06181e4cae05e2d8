"""BEiT on drawn scenes, whole: the tokenizer, pretraining on its codes, fine-tuning with 500 labels of shapes.

    python launch/pipeline.py --config=configs/beit_shapes_pipeline.py --workdir=runs/beit
    python launch/evaluate.py --workdir=runs/beit
    python launch/evaluate.py --workdir=runs/beit/pretrained --probe_data=captioned_shapes/32_shape@train[:500]

The second line tells how often the fine-tuned network is right, the third what a linear classifier reads from the
pretrained one, from random weights and from pixels. The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import beit_finetune_shapes, beit_shapes, vqvae_shapes
from genjax.configs.recipes import common, pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    finetuned = beit_finetune_shapes.get_config(variant)
    finetuned.init_from = "pretrained"
    stages = {"tokenizer": vqvae_shapes.get_config(variant), "pretrained": beit_shapes.get_config(variant)}
    return pipelines.chain(stages | {"finetuned": finetuned}, sampling="none")
