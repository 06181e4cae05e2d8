"""GLIDE: a network that reads captions itself, leaves some out, and after a fine-tuning fills in what is erased."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.conditioning import inpainting
from genjax.families import registry
from genjax.families.base import Family
from genjax.families.interfaces import Weights
from genjax.nn.glide_text import GlideText
from genjax.nn.layers.embeddings import sinusoids
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.requested import conditions_of

KEY = jax.random.key(0)
SPEC = DataSpec((8, 8, 3), has_text=True, text_length=5, vocab_size=12)
TOKENS = jnp.array([[3, 7, 1, 0, 0], [4, 7, 2, 9, 0]])
MODEL = {
    "schedule": {"name": "cosine", "num_steps": 100},
    "parameterization": {"name": "eps"},
    "weighting": {"name": "simple"},
    "time_sampler": {"name": "uniform"},
    "network": {"name": "unet", "width": 8, "channel_mult": (1,), "num_res_blocks": 1, "attention_resolutions": (),
                "num_groups": 2, "adaptive_norm": True},
    "text": {"width": 8, "depth": 1, "num_heads": 2},
    "text_dropout": 0.25,
}  # fmt: skip
SAMPLING = {"sampler": {"name": "ddim"}, "num_steps": "3", "threshold": {"name": "static"}}


def build(spec=SPEC, **model):
    return registry.build("glide", {**MODEL, **model}, SAMPLING, spec)


def batch(count=2):
    images = jax.random.uniform(KEY, (count, 8, 8, 3), minval=-1.0)
    return {"image": images, "tokens": jnp.tile(TOKENS, (count // 2, 1))}


def weights_of(family):
    """Weights with nothing left at zero, so that every path carries something."""
    return perturbed.weights(family, batch())


def gradient_of(family, weights):
    return losses.gradient(family, weights.params, batch(), KEY, extra=weights.extra)


class Case(NamedTuple):
    """A family, its weights, and its sampling compiled."""

    family: Family
    weights: Weights
    sample: Callable

    def draw(self, **conditions):
        """Two images."""
        return np.asarray(self.sample(self.weights, conditions_of(**conditions), jnp.arange(2), KEY).images)


def case_of(family, weights=None):
    return Case(family, weights or weights_of(family), jax.jit(family.interface.sample))


@pytest.fixture(scope="module")
def base():
    return case_of(build())


@pytest.fixture(scope="module")
def filler():
    return case_of(build(inpaint={"everything": 0.25}))


@pytest.mark.slow
def test_the_transformer_is_trained_with_the_network(base):
    grads = jax.tree.leaves(gradient_of(base.family, base.weights))
    assert all(np.abs(leaf).max() > 0 for leaf in grads), "all of it, embeddings of words included"


def test_the_positions_of_a_text_start_as_sinusoids_in_the_type_of_the_parameters():
    text = GlideText(9, length=5, vector_dim=8, width=8, depth=1, num_heads=2, param_dtype=jnp.bfloat16)
    params = jax.eval_shape(text.init, jax.random.key(0), jnp.zeros((1, 5), jnp.int32))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    text = GlideText(9, 5, 8, 8, 1, 2)
    positions = jax.jit(lambda key: text.init(key, jnp.zeros((1, 5), jnp.int32))["params"]["positions"])(KEY)
    np.testing.assert_allclose(positions, sinusoids(jnp.arange(5.0), 8), rtol=1e-6)


def test_captions_decide_and_guidance_goes_from_the_empty_one(base):
    told, other, none = (base.draw(tokens=tokens) for tokens in (TOKENS, TOKENS[::-1], 0 * TOKENS))
    assert np.abs(told - other).max() > 1e-3 and np.abs(told - none).max() > 1e-3
    for scale, expected in ((1.0, told), (0.0, none)):
        guided = base.draw(tokens=TOKENS, guidance_scale=jnp.asarray(scale))
        np.testing.assert_allclose(guided, expected, atol=1e-4)


def test_inpainting_is_trained_and_keeps_what_is_known(filler):
    grads = jax.tree.leaves(gradient_of(filler.family, filler.weights))
    assert all(np.abs(leaf).max() > 0 for leaf in grads), "the transformer and embeddings of words included"
    known, mask = batch()["image"], jnp.ones((2, 8, 8, 1)).at[:, 2:6, 3:].set(0)
    drawn = filler.draw(tokens=TOKENS, known=known, mask=mask)
    np.testing.assert_allclose(drawn * mask, known * mask, atol=1e-6)
    elsewhere = filler.draw(tokens=TOKENS, known=jnp.flip(known, axis=1), mask=mask)
    assert np.abs(drawn - elsewhere)[:, 2:6, 3:].max() > 1e-3, "what is filled in depends on what is around it"


def test_inpainting_starts_out_as_the_base_does(base, filler):
    """The weights of the channels that it adds are zero: the function is the base's."""
    family, fresh, _ = filler
    grown = filler._replace(weights=Weights(family.adopt(fresh.params, base.weights.params), fresh.extra, {}))
    np.testing.assert_allclose(grown.draw(tokens=TOKENS), base.draw(tokens=TOKENS), atol=1e-5)


def test_the_channels_of_inpainting_are_added_in_every_pixel_of_a_patch():
    kernel = jax.random.normal(KEY, (3, 3, 4 * 3, 5))
    wide = inpainting.widen_input(kernel, channels=3, pixels=4).reshape(3, 3, 4, 3 + 4, 5)
    np.testing.assert_array_equal(wide[..., :3, :], kernel.reshape(3, 3, 4, 3, 5))
    assert not wide[..., 3:, :].any()
    network = {**MODEL["network"], "patch_size": 2}
    small, large = case_of(build(network=network)), case_of(build(network=network, inpaint={"everything": 0.25}))
    adopted = large.family.adopt(large.weights.params, small.weights.params)
    grown = large._replace(weights=large.weights._replace(params=adopted))
    np.testing.assert_allclose(grown.draw(tokens=TOKENS), small.draw(tokens=TOKENS), atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (DataSpec((8, 8, 3)), {}, "needs captions as tokens"),
        (SPEC, {"text_dropout": 1.5}, r"dropout=1.5 must be in \[0, 1\]"),
        (SPEC, {"text": {"heads": 2}}, "heads"),
    ],
)
def test_what_does_not_fit_is_told(spec, changes, words):
    with pytest.raises(ValueError, match=words):
        build(spec, **changes)
