"""Imagen's first super-resolution model (arXiv:2205.11487): 64 -> 256 pixels, "600M", an Efficient U-Net.

    python launch/train.py --config=configs/imagen_sr256.py --workdir=runs/imagen_sr256 \\
      --config.stages.text.workdir=runs/t5_xxl

The language model is that of `configs/text_t5_xxl.py`; `launch/encode.py` writes its states once, for
`--config.data.encoded`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import imagens


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return imagens.select(imagens.super_resolution(256), variant)
