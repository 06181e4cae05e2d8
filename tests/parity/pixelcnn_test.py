"""Equality of the Gated PixelCNN with masked convolutions of PyTorch, random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.pixelcnn import GatedLayer

torch = pytest.importorskip("torch", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity

WIDTH = 6


class MaskedLayer(torch.nn.Module):
    """The layer of arXiv:1606.05328, figure 2, by whole kernels of which a part is masked."""

    def __init__(self, size, first):
        super().__init__()
        self.size, self.first = size, first
        self.vertical = torch.nn.Conv2d(WIDTH, 2 * WIDTH, size, padding=size // 2)
        self.horizontal = torch.nn.Conv2d(WIDTH, 2 * WIDTH, (1, size), padding=(0, size // 2))
        self.across = torch.nn.Conv2d(2 * WIDTH, 2 * WIDTH, 1, bias=False)
        self.of_vertical = torch.nn.Conv2d(WIDTH, 2 * WIDTH, 1, bias=False)
        self.of_horizontal = torch.nn.Conv2d(WIDTH, 2 * WIDTH, 1, bias=False)
        self.out = torch.nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, v, h, s):
        middle = self.size // 2
        mask = torch.zeros(self.size, self.size)
        mask[: middle + (not self.first)] = 1  # the rows above, and the row itself after the first layer
        u = torch.nn.functional.conv2d(v, self.vertical.weight * mask, self.vertical.bias, padding=middle)
        mask = torch.zeros(1, self.size)
        mask[:, : middle + (not self.first)] = 1
        y = torch.nn.functional.conv2d(h, self.horizontal.weight * mask, self.horizontal.bias, padding=(0, middle))
        y = self._gate(y + self.across(u) + self.of_horizontal(s))
        return self._gate(u + self.of_vertical(s)), self.out(y) if self.first else h + self.out(y)

    @staticmethod
    def _gate(y):
        first, second = y.chunk(2, dim=1)
        return torch.tanh(first) * torch.sigmoid(second)

    def params(self):
        """Ours: what the masks leave of the kernels, [height, width, in, out]."""
        extent = self.size // 2 + (not self.first)

        def dense(conv):
            return conv.weight.detach().numpy()[:, :, 0, 0].T

        def conv(module, rows, columns):
            kernel = module.weight.detach().numpy().transpose(2, 3, 1, 0)[:rows, :columns]
            return {"kernel": kernel, "bias": module.bias.detach().numpy()}

        return {
            "vertical": conv(self.vertical, extent, self.size),
            "horizontal": conv(self.horizontal, 1, extent),
            "across": {"kernel": dense(self.across)},
            "condition": {"kernel": np.concatenate([dense(self.of_vertical), dense(self.of_horizontal)], axis=1)},
            "out": {"kernel": dense(self.out), "bias": self.out.bias.detach().numpy()},
        }


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_two_layers_equal_masked_convolutions(kernel_size):
    torch.manual_seed(0)
    theirs = [MaskedLayer(kernel_size, first) for first in (True, False)]
    ours = [GatedLayer(WIDTH, kernel_size, first) for first in (True, False)]
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(2, 2, 5, 7, WIDTH)).astype(np.float32)

    with torch.no_grad():
        condition = torch.from_numpy(s.transpose(0, 3, 1, 2))
        v = h = torch.from_numpy(x.transpose(0, 3, 1, 2))
        for layer in theirs:
            v, h = layer(v, h, condition)
    expected = [features.numpy().transpose(0, 2, 3, 1) for features in (v, h)]

    v = h = jnp.asarray(x)
    for layer, reference in zip(ours, theirs, strict=True):
        v, h = jax.jit(layer.apply)({"params": reference.params()}, v, h, jnp.asarray(s))
    for features, reference in zip((v, h), expected, strict=True):
        error = np.abs(features - reference).max() / np.abs(reference).max()
        print(f"relative error {error:.1e}")  # shown by pytest -s
        assert error < 1e-5
