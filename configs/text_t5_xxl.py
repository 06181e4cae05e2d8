"""T5-XXL's encoder, version 1.1 (4,762,310,656 parameters): Imagen's frozen language model (arXiv:2205.11487).

    python launch/convert.py --config=configs/text_t5_xxl.py --workdir=runs/t5_xxl --checkpoint=t5:/path/t5-v1_1-xxl \\
      --config.data.tokenizer.file=/path/t5-v1_1-xxl/spiece.model --config.data.name=coco_captions

`configs/text_t5_xxl.py:small`, `:base`, `:large` and `:xl` are the smaller ones; `:tiny` has random weights.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import common, text_encoders


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "tiny", or a smaller T5: "small", "base", "large" or "xl"."""
    common.expect_variant(variant, *(size for size in text_encoders.T5 if size != "xxl"))
    if variant == "tiny":
        return text_encoders.tiny(text_encoders.t5("small"))
    return text_encoders.t5(variant or "xxl")
