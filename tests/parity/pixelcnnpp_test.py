"""Equality of a gated block and of a whole PixelCNN++ with a network written in PyTorch from the paper; random weights.

Written for equality of numbers only: functions of a dict of weights, shifts by padding and cropping.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import tree
from genjax.nn.pixelcnnpp import GatedResNet, PixelCNNpp

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
F = torch.nn.functional

pytestmark = pytest.mark.parity

KEY = jax.random.key(0)
PADS = {False: (1, 1, 1, 0), True: (1, 0, 1, 0)}
"""Of a stream's convolutions, (left, right, above, below): the down-shifted and the down-right-shifted."""


def kernel(w, name, transposed=False):
    """g v / |v| of each output channel, in PyTorch's order of axes."""
    v = w[f"{name}/kernel"]
    v = w[f"{name}/gain"] * v / v.flatten(0, -2).norm(dim=0)
    return v.permute((2, 3, 0, 1) if transposed else (3, 2, 0, 1)) if v.ndim == 4 else v


def conv(w, name, x, pad, stride=1):
    return F.conv2d(F.pad(x, pad), kernel(w, name), w[f"{name}/bias"], stride)


def pointwise(w, name, x):
    return torch.einsum("bchw,cd->bdhw", x, kernel(w, name)) + w[f"{name}/bias"][:, None, None]


def concat_elu(x):
    return F.elu(torch.cat([x, -x], dim=1))


def block(w, name, right, x, skip=None, label=None):
    h = conv(w, f"{name}conv_in", concat_elu(x), PADS[right])
    if skip is not None:
        h = h + pointwise(w, f"{name}skip", concat_elu(skip))
    h = conv(w, f"{name}conv_out", concat_elu(h), PADS[right])
    if label is not None:
        h = h + w[f"{name}condition/kernel"][label][:, :, None, None]
    value, gate = h.chunk(2, dim=1)
    return x + value * torch.sigmoid(gate)


def upsize(w, name, right, x):
    h = F.conv_transpose2d(x, kernel(w, name, True), w[f"{name}/bias"], stride=2, output_padding=1)
    height, width = 2 * x.shape[2], 2 * x.shape[3]
    return h[:, :, :height, :width] if right else h[:, :, :height, 1 : width + 1]


def down_shift(x):
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1]


def right_shift(x):
    return F.pad(x, (1, 0, 0, 0))[:, :, :, :-1]


def network(w, x, label, num_res_blocks, num_levels):
    """Both streams side by side, level by level, with a stack of short-cuts each."""
    x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    us = [down_shift(conv(w, "down/first", x, (1, 1, 1, 0)))]
    first_down = down_shift(conv(w, "down_right/first_down", x, (1, 1, 0, 0)))
    rs = [first_down + right_shift(conv(w, "down_right/first_right", x, (0, 0, 1, 0)))]
    for level in range(num_levels):
        if level:
            us.append(conv(w, f"down/downsize_{level}", us[-1], PADS[False], 2))
            rs.append(conv(w, f"down_right/downsize_{level}", rs[-1], PADS[True], 2))
        for i in range(num_res_blocks):
            us.append(block(w, f"down/down_{level}_{i}/", False, us[-1], None, label))
            rs.append(block(w, f"down_right/down_{level}_{i}/", True, rs[-1], us[-1], label))
    u, r = us.pop(), rs.pop()
    for level in reversed(range(num_levels)):
        inner = level < num_levels - 1
        if inner:
            u, r = upsize(w, f"down/upsize_{level}", False, u), upsize(w, f"down_right/upsize_{level}", True, r)
        for i in range(num_res_blocks + inner):
            u = block(w, f"down/up_{level}_{i}/", False, u, us.pop(), label)
            r = block(w, f"down_right/up_{level}_{i}/", True, r, torch.cat([u, rs.pop()], dim=1), label)
    assert not us and not rs
    return pointwise(w, "out", F.elu(r))


def randomised(shapes):
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: 0.5 * noise.standard_normal(leaf.shape, np.float32), shapes)


def to_torch(params):
    leaves = zip(tree.param_paths(params), jax.tree.leaves(params), strict=True)
    return {name: torch.from_numpy(np.array(leaf)) for name, leaf in leaves}


def nchw(x):
    return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)


def relative_error(output, expected):
    expected = expected.permute(0, 2, 3, 1).numpy()
    error = np.abs(output - expected).max() / np.abs(expected).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    return error


@pytest.mark.parametrize("right", [False, True])
def test_gated_block(right):
    ours = GatedResNet("right" if right else "down", dropout=0.5)
    x, skip = jax.random.normal(KEY, (2, 5, 7, 8)), jax.random.normal(jax.random.key(1), (2, 5, 7, 16))
    label = jax.nn.one_hot(jnp.array([2, 0]), 3)[:, None, None]
    params = randomised(jax.eval_shape(ours.init, KEY, x, skip, label)["params"])
    expected = block(to_torch(params), "", right, nchw(x), nchw(skip), torch.tensor([2, 0]))
    assert relative_error(ours.apply({"params": params}, x, skip, label), expected) < 1e-5


def test_whole_network():
    ours = PixelCNNpp(20, width=6, num_res_blocks=1, num_levels=3, num_classes=3)
    x, label = jax.random.uniform(KEY, (2, 8, 12, 3), minval=-1, maxval=1), jnp.array([2, 0])
    params = randomised(jax.eval_shape(ours.init, KEY, x, label)["params"])
    expected = network(to_torch(params), nchw(x), torch.tensor([2, 0]), 1, 3)
    assert relative_error(jax.jit(ours.apply)({"params": params}, x, label), expected) < 1e-5
