"""CLIP's text tower reads to the last token and no further; its residual network starts at its skips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.clip_resnet import Bottleneck, ClipResNet
from genjax.nn.clip_text import TextTower, last_token

KEY = jax.random.key(0)
FAST_KEY = jax.random.key(0, impl="rbg")
"""Initialisation by it compiles several times as fast."""


def test_the_last_token_is_that_of_the_highest_number_in_clips_vocabulary():
    texts = np.random.default_rng(0).integers(0, 9, (20, 7))
    ends = np.arange(20) % 7
    for row, end in zip(texts, ends):
        row[end], row[end + 1 :] = 9, 0
    np.testing.assert_array_equal(last_token(jnp.asarray(texts)), texts.argmax(1))
    np.testing.assert_array_equal(last_token(jnp.zeros((2, 5), int)), [0, 0])


def test_text_is_read_to_its_end():
    tower = TextTower(out_channels=5, vocab_size=11, length=6, width=8, depth=1, num_heads=2)
    text = jnp.array([[1, 7, 3, 2, 0, 0]])
    variables = jax.jit(tower.init)(FAST_KEY, text)
    apply = jax.jit(tower.apply)
    states, pooled = apply(variables, text)
    assert states.shape == (1, 6, 8) and pooled.shape == (1, 5)
    np.testing.assert_allclose(pooled, states[:, 3] @ variables["params"]["proj"]["kernel"], rtol=1e-5)
    np.testing.assert_allclose(apply(variables, text[:, :4])[1], pooled, rtol=1e-5)  # shorter texts need no padding
    for place in range(4):
        assert jnp.abs(apply(variables, text.at[0, place].set(9))[1] - pooled).max() > 1e-4
    with pytest.raises(ValueError, match="7 tokens are longer than the tower's 6"):
        jax.eval_shape(tower.apply, variables, jnp.ones((1, 7), int))


def test_residual_blocks_start_at_their_skips_and_keep_averages():
    network = ClipResNet(out_channels=5, width=8, depths=(2,), num_heads=4)
    images = jax.random.normal(KEY, (4, 8, 8, 3))
    variables = jax.jit(network.init)(FAST_KEY, images)
    params, stats = variables["params"], variables["batch_stats"]
    second = {**params, "level_0_1": jax.tree.map(lambda leaf: 7 * leaf, params["level_0_1"])}
    apply = jax.jit(network.apply)
    before = apply({"params": params, "batch_stats": stats}, images)
    np.testing.assert_allclose(apply({"params": second, "batch_stats": stats}, images), before, rtol=1e-5)
    assert before.shape == (4, 5)
    train = jax.jit(lambda images: network.apply(variables, images, train=True, mutable=["batch_stats"]))
    _, updated = train(images)
    mean = updated["batch_stats"]["norm_stem_0"]["mean"]
    stem = jax.lax.conv_general_dilated(
        images, params["stem_0"]["kernel"], (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(mean, 0.1 * stem.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="6x8 can't be halved 2 times"):
        jax.eval_shape(network.init, KEY, images[:, :6])


@pytest.mark.parametrize(("stride", "channels"), [(1, 12), (1, 5), (2, 12)])
def test_a_residual_block_is_the_formula(stride, channels):
    """By the stored averages; the ReLU at the end is of the sum, and the skip is a layer where the shape changes."""
    block, draw = Bottleneck(3, stride), np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(2, 4, 4, channels)), jnp.float32)
    shapes = jax.eval_shape(block.init, KEY, x)
    own = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape) ** (1 if leaf.ndim > 1 else 2) + 0.01, shapes)
    found = jax.jit(block.apply)(jax.tree.map(jnp.float32, own), x)
    params, stats = own["params"], own["batch_stats"]

    def layer(name, norm, h):
        kernel = jnp.asarray(params[name]["kernel"], jnp.float32)
        h = jax.lax.conv_general_dilated(h, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        h = (h - stats[norm]["mean"]) / np.sqrt(stats[norm]["var"] + 1e-5)
        return jnp.asarray(h * params[norm]["scale"] + params[norm]["bias"], jnp.float32)

    def shrink(h):
        return h.reshape(2, 2, 2, 2, 2, -1).mean((2, 4)) if stride == 2 else h

    h = jax.nn.relu(layer("conv_in", "norm_in", x))
    h = layer("conv_out", "norm_out", shrink(jax.nn.relu(layer("conv_middle", "norm_middle", h))))
    skip = layer("skip", "norm_skip", shrink(x)) if "skip" in params else x
    assert ("skip" in params) == ((stride, channels) != (1, 12)) and (h + skip).min() < -0.1
    np.testing.assert_allclose(found, np.maximum(h + skip, 0), rtol=1e-3, atol=1e-3)
