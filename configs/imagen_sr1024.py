"""Imagen's second super-resolution model (arXiv:2205.11487): 256 -> 1024 pixels, "400M", trained on crops.

    python launch/train.py --config=configs/imagen_sr1024.py --workdir=runs/imagen_sr1024 \\
      --config.stages.text.workdir=runs/t5_xxl

The language model is that of `configs/text_t5_xxl.py`; `launch/encode.py` writes its states once, for
`--config.data.encoded`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import imagens


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return imagens.select(imagens.super_resolution(1024), variant)
