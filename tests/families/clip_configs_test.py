"""The configs of CLIP build families with exactly the published numbers of parameters."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from genjax.core.tree import count_params
from genjax.families import registry
from genjax.typing import DataSpec

PUBLISHED = {
    "clip_vit_b32": (151_277_313, 87_849_216),
    "clip_vit_b16": (149_620_737, None),
    "clip_vit_l14": (427_616_513, None),
    "clip_rn50": (102_007_137, None),
    "clip_rn50x16": (290_979_217, None),
    # GLIDE's blocks have no bias on keys, to which the softmax is blind: 12 x 768 fewer numbers and 12 x 512.
    "clip_noisy_glide": (86_443_776 + 71_679_488 + 12 * (768 + 512) + 1, 86_443_776 + 12 * 768),
}


def shapes(config, vocab_size=49_408, length=77):
    size = config.data.image_size
    spec = DataSpec((size, size, 3), has_text=True, text_length=length, vocab_size=vocab_size)
    family = registry.build(config.family, config.model.to_dict(), {}, spec)
    batch = {"image": jnp.zeros((1, size, size, 3)), "tokens": jnp.zeros((1, length), int)}
    return jax.eval_shape(family.init, jax.random.key(0), batch)[0]["model"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_count(name):
    params = shapes(importlib.import_module(f"configs.{name}").get_config())
    whole, image = PUBLISHED[name]
    assert count_params(params) == whole
    assert image is None or count_params(params["image"]) == image


@pytest.mark.parametrize("name", [*PUBLISHED, "clip_shapes", "clip_noisy_shapes"])
def test_tiny_is_small_and_of_the_same_kind(name):
    module = importlib.import_module(f"configs.{name}")
    config, tiny = module.get_config(), module.get_config("tiny")
    assert tiny.data.name == "captioned_shapes/32" and count_params(shapes(tiny, 512, 16)) < 100_000
    for field in ("name", "time", "activation"):
        assert tiny.model.image.get(field) == config.model.image.get(field)
    assert tiny.model.schedule == config.model.schedule
