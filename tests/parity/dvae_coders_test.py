"""Equality of DALL-E's coders with a PyTorch module of the published architecture, written here, random weights."""

import jax
import numpy as np
import pytest

from genjax.nn import dvae_coders

torch = pytest.importorskip("torch", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity

CODES, WIDTH, MULT, BLOCKS, INPUT = 24, 16, (1, 2, 4), 2, 12


def convolution(inputs, outputs, size):
    layer = torch.nn.Conv2d(inputs, outputs, size, padding=size // 2)
    layer.bias.data.normal_(0, 0.3)
    return layer


class Block(torch.nn.Module):
    """skip + convolutions / layers^2; four convolutions, each after a ReLU."""

    def __init__(self, inputs, outputs, sizes, layers):
        super().__init__()
        self.gain = 1 / layers**2
        widths = [inputs, outputs // 4, outputs // 4, outputs // 4, outputs]
        self.convs = torch.nn.ModuleList(convolution(a, b, k) for a, b, k in zip(widths, widths[1:], sizes))
        self.skip = convolution(inputs, outputs, 1) if inputs != outputs else torch.nn.Identity()

    def forward(self, x):
        h = x
        for conv in self.convs:
            h = conv(torch.relu(h))
        return self.skip(x) + self.gain * h


def coder(first, last, levels, sizes, inputs, resample):
    """first - [blocks, resample] for each level, without the last resampling - ReLU, last."""
    layers, channels = [first], inputs
    for i, mult in enumerate(levels):
        for _ in range(BLOCKS):
            layers.append(Block(channels, WIDTH * mult, sizes, BLOCKS * len(levels)))
            channels = WIDTH * mult
        if i < len(levels) - 1:
            layers.append(resample)
    return torch.nn.Sequential(*layers, torch.nn.ReLU(), last)


def kernel(conv):
    """The kernel and bias of ours: [h, w, in, out], a dense layer's for 1x1."""
    weight = conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    return {"kernel": weight[0, 0] if weight.shape[:2] == (1, 1) else weight, "bias": conv.bias.detach().numpy()}


def params_of(module, first, last, levels):
    """Our parameters from those of a coder; `levels` are the numbers of the levels in its order."""
    blocks = [layer for layer in module if isinstance(layer, Block)]
    params = {first: kernel(module[0]), last: kernel(module[-1])}
    for i, block in enumerate(blocks):
        own = {f"conv_{j}": kernel(conv) for j, conv in enumerate(block.convs, 1)}
        if not isinstance(block.skip, torch.nn.Identity):
            own["skip"] = kernel(block.skip)
        params[f"level_{levels[i // BLOCKS]}_{i % BLOCKS}"] = own
    return params


def relative_error(theirs, ours, params, x):
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    output = jax.jit(ours.apply)({"params": params}, x)
    assert output.shape == expected.shape
    error = np.abs(output - expected).max() / np.abs(expected).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    return error


def test_encoder():
    torch.manual_seed(0)
    theirs = coder(
        convolution(3, WIDTH, 7), convolution(WIDTH * MULT[-1], CODES, 1), MULT, (3, 3, 3, 1), WIDTH,
        torch.nn.MaxPool2d(2),
    )  # fmt: skip
    params = params_of(theirs, "conv_in", "conv_logits", (0, 1, 2))
    ours = dvae_coders.DVAEEncoder(CODES, width=WIDTH, channel_mult=MULT, num_blocks=BLOCKS)
    x = np.random.default_rng(0).uniform(size=(2, 8, 12, 3)).astype(np.float32)
    assert relative_error(theirs, ours, params, x) < 1e-5


def test_decoder():
    torch.manual_seed(0)
    theirs = coder(
        convolution(CODES, INPUT, 1), convolution(WIDTH, 6, 1), MULT[::-1], (1, 3, 3, 3), INPUT,
        torch.nn.Upsample(scale_factor=2, mode="nearest"),
    )  # fmt: skip
    params = params_of(theirs, "conv_codes", "conv_out", (2, 1, 0))
    ours = dvae_coders.DVAEDecoder(6, INPUT, width=WIDTH, channel_mult=MULT, num_blocks=BLOCKS)
    codes = np.random.default_rng(0).dirichlet(np.ones(CODES), (2, 2, 3)).astype(np.float32)
    assert relative_error(theirs, ours, params, codes) < 1e-5
