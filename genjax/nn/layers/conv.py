"""The 3x3 convolution of U-Nets, with a gradient that is as fast on CPUs as the convolution itself.

The gradient of the kernel is a sum over all pixels s = (example, row, column),

    dW[i, j] = sum_s x[s + (i - 1, j - 1)]^T dy[s].

XLA computes it on CPUs as a convolution whose window is the whole image: at 32x32 pixels 3 to 4 times as slow as
the forward pass. Moving the row's shift from x to dy makes it one matrix product, of x at 3 column shifts and dy
at 3 row shifts, [3 c_in, s] times [s, 3 c_out]. With it the forward and backward pass of DDPM's network for
CIFAR-10 takes a sixth less time. Other platforms have convolutions made for this, and keep XLA's.

It is given as the derivative along dW, a product of the same x at 3 column shifts whose rows are shifted after it: JAX
transposes that to the sum above, and can follow it forward as well.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from genjax.nn.layers.module import Module
from genjax.typing import Array, Float

Convolution = Callable[[Array, Array], Array]
"""(x, kernel) -> y, linear in either."""

LOGICAL_AXES = [
    (r"conv_?[a-z]*/kernel$", (None, None, "conv_in", "conv_out")),
]


@jax.custom_jvp
def conv3x3(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c c2"]) -> Float[Array, "b h w c2"]:
    """Convolution of stride 1, zeros around the image. Differentiable forward and in reverse, to any order."""
    return jax.lax.conv_general_dilated(
        x, kernel, window_strides=(1, 1), padding=((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


conv3x3.defjvp(lambda primals, tangents: bilinear_jvp(conv3x3, along_kernel, primals, tangents), symbolic_zeros=True)


def bilinear_jvp(convolve: Convolution, along_kernel: Convolution, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The derivative rule of a convolution, for `jax.custom_jvp.defjvp` with `symbolic_zeros`.

    Args:
        convolve: (x, kernel) -> the convolution.
        along_kernel: the same function, in the form whose transpose by the kernel is fast on CPUs. What it makes of x
            is made anew in the backward pass.
        primals, tangents: pairs of x and kernel.
    """
    (x, kernel), (dx, dkernel) = primals, tangents
    fast = functools.partial(jax.lax.platform_dependent, cpu=along_kernel, default=convolve)
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(convolve(dx, kernel))
    if not isinstance(dkernel, SymbolicZero):
        terms.append(jax.checkpoint(fast, prevent_cse=False)(x, dkernel))
    y = convolve(x, kernel)
    return y, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(y)


def along_kernel(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c c2"]) -> Float[Array, "b h w c2"]:
    """`conv3x3` as one matrix product, of x at 3 column shifts and the kernel's rows; see the module."""
    width = x.shape[2]
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    columns = jnp.concatenate([x[:, :, j : j + width] for j in range(3)], axis=-1)
    return shifted_rows(columns, kernel, (1, 0, -1))


def shifted_rows(
    columns: Float[Array, "b h w c"], kernel: Float[Array, "n m c3 c2"], shifts: tuple[int, ...], crop: int = 0
) -> Float[Array, "b h2 w c2"]:
    """The sum over the kernel's rows of each one's product with the columns, shifted down; the last `crop` are cut.

    Products are in the dtype of the columns; sums are float32 at least, those of the transpose too.
    """
    wide = jnp.promote_types(columns.dtype, jnp.float32)
    # Outputs first: of this order the transpose by the kernel is the kind of product that XLA has a fast kernel for.
    taps = kernel.transpose(0, 3, 1, 2).reshape(-1, columns.shape[-1])
    rows = jnp.einsum("bhwc,dc->bhwd", columns, taps, preferred_element_type=wide).astype(columns.dtype)
    zero, still = jnp.zeros((), rows.dtype), (0, 0, 0)
    split = jnp.split(rows, len(shifts), axis=-1)
    # One padding that crops where it is negative: so is its transpose.
    moved = [
        jax.lax.pad(row, zero, (still, (shift, -shift - crop, 0), still, still)) for row, shift in zip(split, shifts)
    ]
    return sum(moved[1:], start=moved[0])


class Conv3x3(Module):
    """3x3 convolution of stride 1 with a bias, as `nn.Conv` but for the speed of its gradient.

    Attributes:
        features: channels of the result.
        kernel_init: of the kernel; the bias starts at zero.
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c2"]:
        """Convolve x."""
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return conv3x3(x, kernel) + bias
