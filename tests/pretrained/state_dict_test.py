"""Reading of state dicts: layouts, and nothing missing or forgotten."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.pretrained.state_dict import StateDict

RNG = np.random.default_rng(0)
ARRAYS = {
    "linear.weight": RNG.normal(size=(3, 2)), "linear.bias": RNG.normal(size=3),
    "qkv.weight": RNG.normal(size=(3, 2, 1)), "qkv.bias": RNG.normal(size=3),
    "conv.weight": RNG.normal(size=(4, 2, 3, 3)),
    "norm.weight": RNG.normal(size=2), "norm.bias": RNG.normal(size=2),
    "table.weight": RNG.normal(size=(5, 2)),
}  # fmt: skip


def test_layouts():
    state = StateDict(ARRAYS)
    x = RNG.normal(size=2)
    linear = nn.Dense(3).apply({"params": state.dense("linear")}, jnp.asarray(x))
    np.testing.assert_allclose(linear, ARRAYS["linear.weight"] @ x + ARRAYS["linear.bias"], rtol=1e-5)
    np.testing.assert_array_equal(state.dense("qkv")["kernel"], ARRAYS["qkv.weight"][:, :, 0].T)
    conv = state.conv("conv")
    assert conv.keys() == {"kernel"}
    np.testing.assert_array_equal(conv["kernel"][0, 2, 1, 3], ARRAYS["conv.weight"][3, 1, 0, 2])
    np.testing.assert_array_equal(state.norm("norm")["scale"], ARRAYS["norm.weight"])
    np.testing.assert_array_equal(state.embedding("table")["embedding"], ARRAYS["table.weight"])
    state.finish()


def test_missing_and_unread_entries_are_named():
    state = StateDict(ARRAYS)
    with pytest.raises(ValueError, match="no 'linear.gain'.*linear.weight"):
        state.read("linear.gain")
    state.dense("linear")
    with pytest.raises(ValueError, match="6 entries.*conv.weight"):
        state.finish()
