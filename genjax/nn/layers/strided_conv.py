"""4x4 convolutions of stride 2, down and up, as 2x2 convolutions of stride 1: as fast on CPUs as plain ones.

With zeros around the image (padding 1), the convolution and its transpose are

    down:  y[m] = sum_k x[2m + k - 1] W[k]                 k = 0..3 in each dimension
    up:    y[2m + r] = sum_i x[m + r + i - 1] W[2i + r]    r, i = 0, 1

Grouping the pixels of the large image into blocks of 2x2 that begin one pixel outside of it (k = 2i + r), both are
2x2 convolutions between the image and an image of blocks with four times the channels. XLA's CPU backend has no
fast kernel for dilated convolutions, which gradients of strided ones and transposed ones are; these need none, and
the kernel's gradient is one matrix product, as in `genjax.nn.layers.conv`. Parameters are those of plain 4x4
convolutions.

Proved equal, with their gradients, to `jax.lax.conv_general_dilated` and to PyTorch's Conv2d and ConvTranspose2d
(4, stride 2, padding 1) by `tests/nn/layers/strided_conv_test.py` and `tests/parity/coders_test.py`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.conv import bilinear_jvp, shifted_rows
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"(down|up)(_\d+)?/kernel$", (None, None, "conv_in", "conv_out")),
]


@jax.custom_jvp
def conv2x2(x: Float[Array, "b h w c"], kernel: Float[Array, "2 2 c c2"]) -> Float[Array, "b h-1 w-1 c2"]:
    """Convolution of stride 1 without padding. Differentiable forward and in reverse, to any order."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


conv2x2.defjvp(lambda primals, tangents: bilinear_jvp(conv2x2, along_kernel, primals, tangents), symbolic_zeros=True)


def along_kernel(x: Float[Array, "b h w c"], kernel: Float[Array, "2 2 c c2"]) -> Float[Array, "b h-1 w-1 c2"]:
    """`conv2x2` as one matrix product, of x at 2 column shifts and the kernel's rows, as in `genjax.nn.layers.conv`."""
    width = x.shape[2] - 1
    columns = jnp.concatenate([x[:, :, j : j + width] for j in range(2)], axis=-1)
    return shifted_rows(columns, kernel, (0, -1), crop=1)


def conv4x4_down(x: Float[Array, "b h w c"], kernel: Float[Array, "4 4 c c2"]) -> Float[Array, "b h//2 w//2 c2"]:
    """4x4 convolution of stride 2 with zeros around the image, whose height and width are even.

    Raises:
        ValueError: for an odd height or width.
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(
            f"images of {h}x{w} can't be halved; choose a size that 2 divides as often as there are halvings"
        )
    blocks = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(b, h // 2 + 1, 2, w // 2 + 1, 2, c)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2 + 1, w // 2 + 1, 4 * c)
    return conv2x2(blocks, kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, -1))


def conv4x4_up(x: Float[Array, "b h w c"], kernel: Float[Array, "4 4 c c2"]) -> Float[Array, "b 2*h 2*w c2"]:
    """Transposed 4x4 convolution of stride 2: the image at twice its size.

    The kernel's orientation is `jax.lax.conv_transpose`'s, a correlation with the dilated image: PyTorch's is its
    mirror image.
    """
    b, h, w, c = x.shape
    # Block m holds the large image's pixels 2m - 1 and 2m: first r = 1 of its left neighbour, then its own r = 0.
    taps = kernel.reshape(2, 2, 2, 2, c, -1)[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    blocks = conv2x2(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), taps.reshape(2, 2, c, -1))
    blocks = blocks.reshape(b, h + 1, w + 1, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, 2 * h + 2, 2 * w + 2, -1)[:, 1:-1, 1:-1]


class DownConv(Module):
    """4x4 convolution of stride 2 with a bias: half the size, as `nn.Conv` with padding 1.

    Attributes:
        features: channels of the result.
        kernel_init: of the kernel; the bias starts at zero.
        use_bias: whether there is one.
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c2"]:
        """x at half its size."""
        return _layer(self, conv4x4_down, x)


class UpConv(Module):
    """Transposed 4x4 convolution of stride 2 with a bias: twice the size, as `nn.ConvTranspose` with padding SAME.

    Each pixel of the result sees a quarter of the kernel, which the default initialisation allows for.

    Attributes:
        features, kernel_init, use_bias, dtype, param_dtype: as of `DownConv`.
    """

    features: int
    kernel_init: Any = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c2"]:
        """x at twice its size."""
        return _layer(self, conv4x4_up, x)


def _layer(module: DownConv | UpConv, convolve, x):
    kernel = module.param("kernel", module.kernel_init, (4, 4, x.shape[-1], module.features), module.param_dtype)
    bias = None
    if module.use_bias:
        bias = module.param("bias", nn.initializers.zeros_init(), (module.features,), module.param_dtype)
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=module.dtype)
    y = convolve(x, kernel)
    return y if bias is None else y + bias
