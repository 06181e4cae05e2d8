"""Noisy CLIP of drawn scenes at 32 pixels: guides any diffusion model of them with the same cosine schedule.

    python launch/train.py  --config=configs/clip_noisy_shapes.py --workdir=runs/clip_noisy_shapes
    python launch/sample.py --workdir=runs/ddpm_shapes '--guide=text:runs/clip_noisy_shapes,a red circle:1'

The variant "16" is for models of 16 pixels, such as GLIDE's base; "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import clip_shapes
from genjax.configs.recipes import clips, common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "16" or "tiny"."""
    common.expect_variant(variant, "16")
    config = clip_shapes.get_config()
    config.model.schedule = ConfigDict({"name": "cosine", "num_steps": 1000})
    config.model.image.time = "sinusoids"
    if variant == "16":
        config.data.image_size = 16
        config.model.image.patch_size = 4
        return config
    return clips.select(config, variant)
