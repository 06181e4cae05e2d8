"""Equality with PyTorch modules of BigGAN's networks, written out here; random weights, training and evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.biggan import Discriminator, Generator
from genjax.nn.biggan_blocks import DiscriminatorBlock, GeneratorBlock, SelfAttention
from genjax.nn.layers.conditional_norm import ConditionalBatchNorm

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
F = torch.nn.functional

pytestmark = pytest.mark.parity
EPS = 1e-6
STATE = ["batch_stats", "spectral"]


class Spectral(torch.nn.Module):
    """A 3x3 or 1x1 convolution, linear layer or table over its largest singular value, estimated from u."""

    def __init__(self, shape, bias=True):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(shape) / np.sqrt(np.prod(shape[1:])))
        self.bias = torch.nn.Parameter(0.3 * torch.randn(shape[0])) if bias else None
        self.register_buffer("u", torch.randn(shape[0]))
        self.register_buffer("sigma", torch.ones(()))

    def forward(self, x):
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(self.u @ matrix, dim=0, eps=EPS)
            u = F.normalize(matrix @ v, dim=0, eps=EPS)
        sigma = u @ matrix @ v
        if self.training:
            self.u.copy_(u)
            self.sigma.copy_(sigma.detach())
        weight = self.weight / sigma
        if x.dtype == torch.long:
            return F.embedding(x, weight)
        if weight.ndim == 2:
            return F.linear(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


def conv(inputs, outputs, size=3, bias=True):
    return Spectral((outputs, inputs, size, size), bias)


class Norm(torch.nn.Module):
    """Batch norm of gain 1 + W_g c and bias W_b c."""

    def __init__(self, channels, condition):
        super().__init__()
        self.dense_gain, self.dense_bias = (Spectral((channels, condition), bias=False) for _ in range(2))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x, c):
        gain, bias = (1 + self.dense_gain(c))[:, :, None, None], self.dense_bias(c)[:, :, None, None]
        return F.batch_norm(x, self.mean, self.var, None, None, self.training, 0.1, 1e-5) * gain + bias


class Plain(torch.nn.Module):
    """Batch norm of one gain and bias a channel."""

    def __init__(self, channels):
        super().__init__()
        self.scale, self.bias = (torch.nn.Parameter(1 + 0.3 * torch.randn(channels)) for _ in range(2))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x):
        return F.batch_norm(x, self.mean, self.var, self.scale, self.bias, self.training, 0.1, 1e-5)


class GBlock(torch.nn.Module):
    """The generator's block, in the order of the published code."""

    def __init__(self, inputs, outputs, condition):
        super().__init__()
        self.norm_in, self.norm_out = Norm(inputs, condition), Norm(outputs, condition)
        self.conv_in, self.conv_out = conv(inputs, outputs), conv(outputs, outputs)
        self.skip = conv(inputs, outputs, 1)

    def forward(self, x, c):
        h = F.interpolate(F.relu(self.norm_in(x, c)), scale_factor=2)
        h = self.conv_out(F.relu(self.norm_out(self.conv_in(h), c)))
        return h + self.skip(F.interpolate(x, scale_factor=2))


class DBlock(torch.nn.Module):
    """The discriminator's block; a first one takes the image as it is, and pools before its skip."""

    def __init__(self, inputs, outputs, first=False, down=True):
        super().__init__()
        self.first, self.down = first, down
        self.conv_in, self.conv_out = conv(inputs, outputs), conv(outputs, outputs)
        if down or inputs != outputs:
            self.skip = conv(inputs, outputs, 1)

    def forward(self, x):
        pool = (lambda y: F.avg_pool2d(y, 2)) if self.down else (lambda y: y)
        skip = self.skip if hasattr(self, "skip") else (lambda y: y)
        h = pool(self.conv_out(F.relu(self.conv_in(x if self.first else F.relu(x)))))
        return h + (skip(pool(x)) if self.first else pool(skip(x)))


class Attention(torch.nn.Module):
    """Self-attention with pooled keys and values."""

    def __init__(self, channels):
        super().__init__()
        self.dense_query, self.dense_key = (conv(channels, channels // 8, 1, bias=False) for _ in range(2))
        self.dense_value = conv(channels, channels // 2, 1, bias=False)
        self.dense_out = conv(channels // 2, channels, 1, bias=False)
        self.gamma = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        q = self.dense_query(x).flatten(2)
        k, v = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.dense_key, self.dense_value))
        weights = torch.softmax(torch.einsum("bcq,bck->bqk", q, k), dim=-1)
        gathered = torch.einsum("bqk,bck->bcq", weights, v).unflatten(2, x.shape[2:])
        return x + self.gamma * self.dense_out(gathered)


class G(torch.nn.Module):
    """8x8 from 2x2 in two stages, with attention at 4x4: widths 16, 16, 8, z 6 in chunks of 2, 3 classes."""

    def __init__(self):
        super().__init__()
        self.shared = torch.nn.Embedding(3, 5)
        self.dense_in = Spectral((2 * 2 * 16, 2))
        self.block_0, self.block_1, self.attention_4 = GBlock(16, 16, 7), GBlock(16, 8, 7), Attention(16)
        self.norm_out, self.conv_out = Plain(8), conv(8, 3)

    def forward(self, z, y):
        chunks, e = torch.split(z, 2, 1), self.shared(y)
        h = self.dense_in(chunks[0]).view(-1, 16, 2, 2)
        h = self.attention_4(self.block_0(h, torch.cat([e, chunks[1]], 1)))
        h = self.block_1(h, torch.cat([e, chunks[2]], 1))
        return torch.tanh(self.conv_out(F.relu(self.norm_out(h))))


class D(torch.nn.Module):
    """8x8 to 4x4 to 4x4, with attention, sum pooling and projection."""

    def __init__(self):
        super().__init__()
        self.block_0, self.block_1, self.block_2 = DBlock(3, 8, first=True), DBlock(8, 16), DBlock(16, 16, down=False)
        self.attention_4 = Attention(8)
        self.dense_out, self.embed = Spectral((1, 16)), Spectral((3, 16), bias=False)

    def forward(self, x, y):
        h = self.block_2(self.block_1(self.attention_4(self.block_0(x))))
        h = F.relu(h).sum((2, 3))
        return self.dense_out(h)[:, 0] + (self.embed(y) * h).sum(1)


def ported(module):
    """The module's arrays as our variables."""
    kinds = {"u": "spectral", "sigma": "spectral", "mean": "batch_stats", "var": "batch_stats"}
    variables = {}
    for name, value in module.state_dict().items():
        *path, leaf = name.split(".")
        value = value.numpy().copy()
        if path == ["dense_in"] and value.ndim:  # 16 x 2 x 2 outputs in the order 2 x 2 x 16
            value = value.reshape(16, 4, -1).swapaxes(0, 1).reshape(value.shape)
        place = variables.setdefault(kinds.get(leaf, "params"), {})
        for part in path:
            place = place.setdefault(part, {})
        if leaf == "weight":
            leaf = "embedding" if path[-1] in ("shared", "embed") else "kernel"
            value = value if leaf == "embedding" else value.T if value.ndim == 2 else value.transpose(2, 3, 1, 0)
            value = value[0, 0] if value.shape[:2] == (1, 1) else value
        place[leaf] = jnp.asarray(value)
    return variables


def first(x):
    return torch.from_numpy(np.array(x).transpose(0, 3, 1, 2)) if np.ndim(x) == 4 else torch.from_numpy(np.array(x))


def last(y):
    return y.numpy().transpose(0, 2, 3, 1) if y.ndim == 4 else y.numpy()


def relative_error(ours, theirs):
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def compare(ours, theirs, *inputs):
    """Two training passes, with the state that they leave, then one out of training: the worst relative error."""
    variables = ported(theirs)
    train, evaluate = (jax.jit(lambda v, *x, mode=mode: ours(v, *x, *mode)) for mode in ((True, STATE), (False, False)))
    errors = []
    for _ in range(2):
        y, state = train(variables, *inputs)
        variables = variables | state
        with torch.no_grad():
            errors.append(relative_error(y, last(theirs.train()(*map(first, inputs)))))
    expected = ported(theirs)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    for kind in variables.keys() - {"params"}:
        state = (jax.tree.leaves(variables[kind]), jax.tree.leaves(expected[kind]))
        errors += [relative_error(a, np.asarray(b)) for a, b in zip(*state, strict=True)]
    with torch.no_grad():
        errors.append(relative_error(evaluate(variables, *inputs), last(theirs.eval()(*map(first, inputs)))))
    print(f"relative error {max(errors):.1e}")  # shown by pytest -s
    return max(errors)


def module(network, **fixed):
    return lambda v, *args: network.apply(v, *args[:-2], args[-2], mutable=args[-1])


def network(net):
    return lambda v, *args: net.apply(v, *args[:-2], train=args[-2], mutable=args[-1])


def inputs(*shapes):
    noise = np.random.default_rng(0)
    return [jnp.asarray(noise.standard_normal(shape, np.float32)) for shape in shapes]


LABEL = np.array([2, 0, 1, 1])
CASES = {
    "norm": (module(ConditionalBatchNorm(spectral_eps=EPS)), lambda: Norm(8, 5), inputs((4, 4, 6, 8), (4, 5))),
    "generator block": (module(GeneratorBlock(8, True)), lambda: GBlock(16, 8, 5), inputs((4, 4, 6, 16), (4, 5))),
    "discriminator block": (module(DiscriminatorBlock(16, True)), lambda: DBlock(8, 16), inputs((4, 4, 6, 8))),
    "first discriminator block": (
        module(DiscriminatorBlock(8, True, preactivation=False)),
        lambda: DBlock(3, 8, first=True),
        inputs((4, 4, 6, 3)),
    ),
    "attention": (module(SelfAttention()), lambda: Attention(16), inputs((4, 4, 6, 16))),
    "generator": (
        network(Generator(3, 8, (2, 2, 1), (4,), z_dim=6, shared_dim=5, bottom_size=2)),
        G,
        [*inputs((4, 6)), LABEL],
    ),
    "discriminator": (
        network(Discriminator(3, 8, (1, 2, 2), (4,), num_downsamples=2)),
        D,
        [*inputs((4, 8, 8, 3)), LABEL],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name):
    ours, theirs, arguments = CASES[name]
    torch.manual_seed(0)
    assert compare(ours, theirs(), *arguments) < 1e-5
