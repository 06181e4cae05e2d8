"""VQ-VAE's coders and quantiser against PyTorch modules, random weights."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses.vq import codebook_loss, commitment_loss
from genjax.nn.coders import Decoder, Encoder
from genjax.nn.layers import quantize

torch = pytest.importorskip("torch", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity
NN = torch.nn


class Block(NN.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.conv_in, self.conv_out = NN.Conv2d(width, inner, 3, padding=1), NN.Conv2d(inner, width, 1)

    def forward(self, x):
        return x + self.conv_out(torch.relu(self.conv_in(torch.relu(x))))


def encoder():
    layers = {
        "down_0": NN.Conv2d(3, 4, 4, 2, 1), "relu_0": NN.ReLU(),
        "down_1": NN.Conv2d(4, 8, 4, 2, 1), "relu_1": NN.ReLU(),
        "conv": NN.Conv2d(8, 8, 3, padding=1), "res_0": Block(8, 6), "res_1": Block(8, 6), "relu": NN.ReLU(),
        "project": NN.Conv2d(8, 5, 1),
    }  # fmt: skip
    return NN.Sequential(OrderedDict(layers))


def decoder():
    layers = {
        "conv": NN.Conv2d(5, 8, 3, padding=1), "res_0": Block(8, 6), "res_1": Block(8, 6), "relu": NN.ReLU(),
        "up_1": NN.ConvTranspose2d(8, 4, 4, 2, 1), "relu_1": NN.ReLU(), "up_0": NN.ConvTranspose2d(4, 3, 4, 2, 1),
    }  # fmt: skip
    return NN.Sequential(OrderedDict(layers))


def ported(module):
    """The module's weights as our parameters: kernels spatial first, transposed ones mirrored, 1x1 ones dense."""
    params = {}
    for name, layer in module.named_modules():
        if isinstance(layer, NN.Conv2d | NN.ConvTranspose2d):
            weight = layer.weight.detach().numpy()
            if isinstance(layer, NN.ConvTranspose2d):
                kernel = weight.transpose(2, 3, 0, 1)[::-1, ::-1]
            else:
                kernel = weight.transpose(2, 3, 1, 0)
            kernel = kernel[0, 0] if kernel.shape[0] == 1 else kernel
            *path, last = name.split(".")
            branch = params
            for folder in path:
                branch = branch.setdefault(folder, {})
            branch[last] = {"kernel": kernel.copy(), "bias": layer.bias.detach().numpy()}
    return params


@pytest.mark.parametrize(
    ("make", "ours", "shape"),
    [
        (encoder, Encoder(width=8, num_downs=2, res_width=6, out_channels=5), (2, 8, 12, 3)),
        (decoder, Decoder(3, width=8, num_ups=2, res_width=6), (2, 2, 3, 5)),
    ],
)
def test_coders_and_their_input_gradients(make, ours, shape):
    torch.manual_seed(0)
    theirs = make()
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    there = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    output = theirs(there)
    torch.sin(output).sum().backward()
    params = {"params": ported(theirs)}

    @jax.jit
    def value_and_slope(x):
        y, vjp = jax.vjp(lambda x: ours.apply(params, x), x)
        return y, vjp(jnp.cos(y))[0]

    mine, slope = value_and_slope(jnp.asarray(x))
    for value, expected in ((mine, output.detach()), (slope, there.grad)):
        expected = expected.numpy().transpose(0, 2, 3, 1)
        assert np.abs(value - expected).max() < 1e-5 * np.abs(expected).max()


def test_quantiser_values_and_gradients():
    """The layer of the paper in a few lines of PyTorch: the codebook learns by loss, commitment cost 0.25."""
    rng = np.random.default_rng(0)
    z, vectors = rng.normal(size=(2, 3, 4, 5)).astype(np.float32), rng.normal(size=(7, 5)).astype(np.float32)

    there = [torch.tensor(value, requires_grad=True) for value in (z, vectors)]
    distances = torch.cdist(there[0].reshape(-1, 5), there[1])
    z_q = there[1][distances.argmin(1)].reshape(z.shape)
    straight = there[0] + (z_q - there[0]).detach()
    penalty = ((there[0].detach() - z_q) ** 2).mean() + 0.25 * ((there[0] - z_q.detach()) ** 2).mean()
    expected = torch.sin(straight).sum() + penalty
    expected.backward()

    def loss(z, vectors):
        quantized = quantize.quantize(z, vectors)
        penalty = codebook_loss(z, quantized.z_q) + 0.25 * commitment_loss(z, quantized.z_q)
        return jnp.sin(quantized.straight_through()).sum() + penalty.mean()

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(jnp.asarray(z), jnp.asarray(vectors))
    codes = quantize.nearest(jnp.asarray(z), jnp.asarray(vectors))
    np.testing.assert_array_equal(codes.reshape(-1), distances.argmin(1).numpy())
    assert value == pytest.approx(float(expected.detach()), rel=1e-5)
    for mine, theirs in zip(gradients, there):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-5, atol=1e-6)
