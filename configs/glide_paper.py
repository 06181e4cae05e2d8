"""GLIDE's base model at the size of the paper (arXiv:2112.10741, section 4): 3,554,414,086 parameters.

ADM's U-Net for 64 pixels with 512 channels, 2.3 billion parameters, and a transformer of 24 blocks of 2048 features,
1.2 billion. Trained for 2.5 million steps of 2048 images; then fine-tuned with a fifth of the captions dropped,
which here is done from the start. The heads of the transformer's attention aren't published: 64 features each.

    python launch/plan.py --config=configs/glide_paper.py --config.data.tokenizer.file=DIR/vocab.json
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import glides


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = glides.base()
    config.model.network.update({"width": 512, "dropout": 0.0, "remat": True})
    config.model.text.update(width=2048, depth=24, num_heads=32)
    config.mesh.update(data=1, fsdp=256, tensor=1)
    return glides.select(config, variant)
