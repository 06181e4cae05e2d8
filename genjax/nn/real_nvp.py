"""RealNVP: an invertible network of affine coupling layers whose Jacobian is triangular (arXiv:1605.08803).

A coupling layer keeps the entries where a binary mask b is 1 and makes the others depend on them (equation 9):

    y = b * x + (1 - b) * (x * exp(s(b * x)) + t(b * x)),      log |det dy/dx| = sum (1 - b) * s(b * x)
    x = b * y + (1 - b) * (y - t(b * y)) * exp(-s(b * y))

with s = scale * tanh(.) and t from one residual network, never inverted. Masks are checkerboards, or the first half of
the channels; layers take b and 1 - b in turns. `squeeze` makes 4 channels of each 2x2 pixels. The scales (section 3.6):

    of each but the last:  3 checkerboard layers, squeeze, 3 channel layers; half of the channels goes on to the next
    the last:              4 checkerboard layers

What is factored out at each scale is put back beside what became of the rest, so that z has the shape of x, and the
flow starts as the identity: the last convolution of every coupling layer starts at zero. Before it images are mapped to
the whole real line (section 4.1):

    logits = logit(alpha + (1 - 2 alpha) u),      u = (x + 1 + 1/255) / (2 + 2/255) = (level + noise) / 256 in [0, 1]

Deviations: no batch norm, whose running statistics would make likelihoods depend on the batches seen, and no weight
norm; residual blocks have group norm (of one group by default: layer norm) and SiLU in place of ReLU. Networks also see
the mask. No L2 term on s. The paper prints alpha + (1 - alpha) u, infinite at white; here both ends have the margin.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core.images import BIN_WIDTH
from genjax.losses.elbo import sum_flat
from genjax.nn.layers import conv, norm
from genjax.nn.layers.checks import expect_groups
from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.module import Module
from genjax.nn.layers.norm import GroupNorm
from genjax.typing import Array, Float, Image, PerExample

LOGICAL_AXES = [*conv.LOGICAL_AXES, *norm.LOGICAL_AXES]


def to_logits(x: Image, alpha: float = 0.05) -> tuple[Image, PerExample]:
    """(logits of images, log |det| of this map in nats); see the module.

    Args:
        x: 8-bit images in [-1, 1] with noise of their bins' width.
        alpha: margin on either side, below 1/2.
    """
    slope = (1 - 2 * alpha) / (2 + BIN_WIDTH)
    p = alpha + slope * (x + 1 + BIN_WIDTH / 2)
    log_p, log_q = jnp.log(p), jnp.log1p(-p)
    return log_p - log_q, sum_flat(math.log(slope) - log_p - log_q)


def from_logits(logits: Image, alpha: float = 0.05) -> Image:
    """The inverse of `to_logits`; beyond [-1, 1] where logits are beyond the margins."""
    slope = (1 - 2 * alpha) / (2 + BIN_WIDTH)
    return (jax.nn.sigmoid(logits) - alpha) / slope - 1 - BIN_WIDTH / 2


def squeeze(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 4*c"]:
    """Each 2x2 pixels as 4 c channels, row by row: the upper two are the first half."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def unsqueeze(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c//4"]:
    """The inverse of `squeeze`."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)


def checkerboard_mask(shape: tuple[int, ...], odd: bool) -> Float[Array, "h w 1"]:
    """1 where row + column is even, or odd."""
    height, width, _ = shape
    return ((jnp.arange(height)[:, None] + jnp.arange(width) + odd) % 2 == 0).astype(jnp.float32)[..., None]


def channel_mask(shape: tuple[int, ...], odd: bool) -> Float[Array, "1 1 c"]:
    """1 at the first half of the channels, or at the second."""
    first = jnp.arange(shape[2]) < shape[2] // 2
    return (first != odd).astype(jnp.float32)[None, None]


MASKS = {"checkerboard": checkerboard_mask, "channel": channel_mask}


class ResidualBlock(Module):
    """h + conv(SiLU(norm(conv(SiLU(norm(h)))))).

    Attributes:
        num_groups: of the group norms.
    """

    num_groups: int = 1

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Transform h."""
        update = GroupNorm(self.num_groups, silu=True, name="norm_in", **self.dtypes)(h)
        update = Conv3x3(h.shape[-1], name="conv_in", **self.dtypes)(update)
        update = GroupNorm(self.num_groups, silu=True, name="norm_out", **self.dtypes)(update)
        return h + Conv3x3(h.shape[-1], name="conv_out", **self.dtypes)(update)


class Coupling(Module):
    """One affine coupling layer; see the module.

    Attributes:
        mask: "checkerboard" or "channel".
        odd: whether it keeps what the mask has 0 at.
        width, num_res_blocks, num_groups: of its residual network.
        dtype: of the residual network's computation; None for that of x. The coupling itself is in the dtype of x.
    """

    mask: str
    odd: bool
    width: int
    num_res_blocks: int
    num_groups: int = 1

    @nn.compact
    def __call__(self, x: Image, inverse: bool = False) -> tuple[Image, PerExample]:
        """(y, log |det dy/dx|) of x; with `inverse`, (x, log |det dx/dy|) of y."""
        keep = MASKS[self.mask](x.shape[1:], self.odd).astype(x.dtype)
        shown = jnp.broadcast_to(keep, (*x.shape[:3], keep.shape[-1]))
        h = Conv3x3(self.width, name="conv_in", **self.dtypes)(jnp.concatenate([keep * x, shown], axis=-1))
        for index in range(self.num_res_blocks):
            h = ResidualBlock(self.num_groups, name=f"block_{index}", **self.dtypes)(h)
        h = GroupNorm(self.num_groups, silu=True, name="norm_out", **self.dtypes)(h)
        h = Conv3x3(2 * x.shape[-1], nn.initializers.zeros_init(), name="conv_out", **self.dtypes)(h)
        scale = self.param("tanh_scale", nn.initializers.ones_init(), (x.shape[-1],), self.param_dtype)
        s, t = jnp.split(h.astype(x.dtype), 2, axis=-1)
        s, t = (1 - keep) * scale.astype(x.dtype) * jnp.tanh(s), (1 - keep) * t
        if inverse:
            return (x - t) * jnp.exp(-s), -sum_flat(s)
        return x * jnp.exp(s) + t, sum_flat(s)


class RealNVP(Module):
    """Images to standard normal noise of their shape, and back.

    Attributes:
        width: features of the residual networks at the first scale; twice as many after each squeeze.
        num_res_blocks: of each residual network. The paper: 8 with a width of 64 on CIFAR-10, else 4 with 32 at 32x32
            pixels and 2 at 64x64.
        num_scales: half of what is left is factored out after each but the last; 2 on CIFAR-10.
        num_couplings: layers of each kind at a scale; the last has one more.
        num_groups: of the group norms.
        alpha: margin of the logits.
        dtype: of the residual networks' computation; None for that of the input.
    """

    width: int = 64
    num_res_blocks: int = 8
    num_scales: int = 2
    num_couplings: int = 3
    num_groups: int = 1
    alpha: float = 0.05

    def __post_init__(self):
        """Refuse fields that can't be."""
        expect_groups(self.width, self.num_groups)
        super().__post_init__()

    def setup(self):
        """The coupling layers of each scale, in their order."""
        last = self.num_scales - 1
        self.checkerboards = [
            self._couplings("checkerboard", scale, self.num_couplings + (scale == last))
            for scale in range(self.num_scales)
        ]
        self.channels = [self._couplings("channel", scale + 1, self.num_couplings) for scale in range(last)]

    def _couplings(self, mask: str, doublings: int, count: int) -> list[Coupling]:
        sizes = {"width": self.width * 2**doublings, "num_res_blocks": self.num_res_blocks}
        dtypes = {"num_groups": self.num_groups, **self.dtypes}
        return [Coupling(mask, odd=index % 2 == 1, **sizes, **dtypes) for index in range(count)]

    def __call__(self, x: Image) -> tuple[Image, PerExample]:
        """(z, log |det dz/dx| in nats) of dequantized images.

        Raises:
            ValueError: for a height or width that can't be halved after each scale but the last.
        """
        logits, log_slope = to_logits(x, self.alpha)
        z, log_det = self.flow(logits)
        return z, log_det + log_slope

    def flow(self, x: Image) -> tuple[Image, PerExample]:
        """(z, log |det dz/dx| in nats) of logits."""
        check_size(x.shape[1:3], self.num_scales)
        log_det, factored = jnp.zeros(x.shape[:1], x.dtype), []
        for checkerboards, channels in zip(self.checkerboards, self.channels):
            x, log_det = _through(checkerboards, x, log_det)
            x, log_det = _through(channels, squeeze(x), log_det)
            x, done = jnp.split(x, 2, axis=-1)
            factored.append(done)
        x, log_det = _through(self.checkerboards[-1], x, log_det)
        for done in reversed(factored):
            x = unsqueeze(jnp.concatenate([x, done], axis=-1))
        return x, log_det

    def inverse(self, z: Image) -> Image:
        """The images whose z this is; beyond [-1, 1] where their logits are beyond the margins."""
        check_size(z.shape[1:3], self.num_scales)
        factored = []
        for _ in self.channels:
            z, done = jnp.split(squeeze(z), 2, axis=-1)
            factored.append(done)
        x = _back(self.checkerboards[-1], z)
        for scale in reversed(range(self.num_scales - 1)):
            x = _back(self.channels[scale], jnp.concatenate([x, factored[scale]], axis=-1))
            x = _back(self.checkerboards[scale], unsqueeze(x))
        return from_logits(x, self.alpha)


def _through(layers: Sequence[Coupling], x: Image, log_det: PerExample) -> tuple[Image, PerExample]:
    for layer in layers:
        x, gain = layer(x)
        log_det = log_det + gain
    return x, log_det


def _back(layers: Sequence[Coupling], y: Image) -> Image:
    for layer in reversed(layers):
        y, _ = layer(y, inverse=True)
    return y


def check_size(size: tuple[int, ...], num_scales: int) -> None:
    """Nothing, for images that can be halved at each scale but the last.

    Raises:
        ValueError: for others.
    """
    factor = 2 ** (num_scales - 1)
    if size[0] % factor or size[1] % factor:
        raise ValueError(
            f"images of {size[0]}x{size[1]} can't be halved {num_scales - 1} times; choose a size that {factor} "
            f"divides, or fewer than {num_scales} scales (num_scales)"
        )
