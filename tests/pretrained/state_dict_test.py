"""Reading of state dicts: layouts, and nothing missing or forgotten."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.pretrained.state_dict import MismatchError, StateDict

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


def test_missing_and_unread_entries_are_counted_and_named():
    state = StateDict(ARRAYS)
    assert state.dense("linear")["kernel"].shape == (2, 3)
    # What is missing doesn't end the reading, whatever is done with it.
    np.concatenate([state.read("linear.gain").reshape(3, -1).T[0], np.zeros(2)])
    state.dense("other")
    state.conv("another")
    with pytest.raises(MismatchError) as caught:
        state.finish({"made": 1})
    words = (
        r"3 missing \(linear.gain, other.weight, another.weight\), "
        r"6 unknown \(conv.weight, norm.bias, norm.weight, ..\)"
    )
    assert re.search(words, str(caught.value))
    assert caught.value.params == {"made": 1}


def test_weights_of_another_kind_of_layer():
    state = StateDict(ARRAYS)
    for read, name in ((state.dense, "conv"), (state.conv, "linear"), (state.conv, "qkv"), (state.dense, "norm")):
        with pytest.raises(ValueError, match=f"its {name}.weight .* should be the weight of"):
            read(name)
