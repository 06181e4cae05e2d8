"""The base of Imagen (arXiv:2205.11487): 64 pixels, "2B" parameters, on the states of T5-XXL.

    python launch/train.py --config=configs/imagen_base64.py --workdir=runs/imagen_base64 \\
      --config.stages.text.workdir=runs/t5_xxl

The language model is that of `configs/text_t5_xxl.py`; `launch/encode.py` writes its states once, for
`--config.data.encoded`.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import imagens


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    return imagens.select(imagens.base64(), variant)
