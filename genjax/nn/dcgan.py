"""DCGAN: generator and discriminator of convolutions alone (Radford et al., arXiv:1511.06434, section 3).

For images of S pixels, n = log2(S / base) changes of resolution, w = width and base = 4:

    generator      z -> Dense to base x base x w 2^(n-1) -> norm, ReLU
                   n times: 4x4 transposed convolution of stride 2, half the channels -> norm, ReLU
                   the last to the image's channels -> tanh, without norm
    discriminator  n times: 4x4 convolution of stride 2, w 2^i channels -> norm (not in the first), leaky ReLU .2
                   Dense of all features to one logit

The first Dense is a transposed convolution of a 1x1 map, the last a convolution over its whole input. Weights start at
N(0, .02), gains of batch norm at N(1, .02). At 64 pixels and w = 128 that is the paper's 1024-512-256-128.

**Batch norm** takes mean and (biased) variance over the batch and all pixels; under jit over the *global* batch, on
however many devices. Training normalises by these, as in PyTorch and TensorFlow, and the generator also keeps running
averages, `r <- momentum r + (1 - momentum) batch's`, in the collection `batch_stats`. Against PyTorch: its momentum .1
is .9 here, and its running variance is of the unbiased one, n/(n-1) times this; TensorFlow's is the same as here. The
discriminator sees real and generated batches apart, of unlike statistics; an average would fit neither, so it keeps
none and always normalises by its batch.

Deviations: 4x4 kernels, as in the authors' and PyTorch's code, where the paper's figure 1 has 5x5. The discriminator's
norm may be "layer" (of each example by itself: all features as one group) or "none", which gradient penalties need.
`extra_layers` adds 3x3 convolutions beside the largest features: depth for images of few pixels, which change size
little.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.module import Module
from genjax.nn.layers.norm import GroupNorm
from genjax.typing import Array, Bool, Float, Image, Key, PerExample

LOGICAL_AXES = [
    (r"project/kernel$", ("embed", "conv_out")),
    (r"(up|down|extra)_\d+/kernel$", (None, None, "conv_in", "conv_out")),
    (r"logit/kernel$", ("conv_in", None)),
]
NORMS = ("batch", "layer", "none")


def resolutions(size: int, base: int) -> int:
    """How many times `base` has to double to be `size`.

    Raises:
        ValueError: if no number of times is right.
    """
    count = (size // base).bit_length() - 1
    if count < 1 or base << count != size:
        raise ValueError(
            f"images of {size} pixels aren't base={base} doubled at least once; choose another base or size"
        )
    return count


def normal_gain(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Gains of batch norm at the start: N(1, .02)."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class BatchNorm(Module):
    """Batch normalisation (arXiv:1502.03167) as the module describes it; statistics are float32 at least.

    Attributes:
        momentum: of the running averages in `batch_stats`; None to keep none, and always normalise by the batch.
        eps: added to the variance.
        dtype: of the result; None for that of the input.
    """

    momentum: float | None = 0.9
    eps: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], train: bool = True, present: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b *s c"]:
        """Normalise x by its batch's statistics, of examples that are present, if `train`; else by the averages."""
        channels, dtype = x.shape[-1:], self.dtype or x.dtype
        scale = self.param("scale", normal_gain, channels, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), channels, self.param_dtype)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.momentum is None:
            mean, var = _moments(x, present)
        else:
            mean, var = self._averaged(x, train, present)
        return ((x - mean) * (jax.lax.rsqrt(var + self.eps) * scale) + bias).astype(dtype)

    def _averaged(self, x, train, present):
        """(mean, variance) to normalise by; the running averages move if `train`."""
        running = {
            "mean": self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:], jnp.float32),
            "var": self.variable("batch_stats", "var", jnp.ones, x.shape[-1:], jnp.float32),
        }
        if not train:
            return running["mean"].value, running["var"].value
        batch = dict(zip(("mean", "var"), _moments(x, present)))
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            for name, average in running.items():
                average.value = self.momentum * average.value + (1 - self.momentum) * batch[name]
        return batch["mean"], batch["var"]


def _moments(x, present):
    """(mean, variance) of each channel."""
    axes = tuple(range(x.ndim - 1))
    where = None if present is None else present.reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.mean(x, axes, where=where), jnp.var(x, axes, where=where)


class Generator(Module):
    """z [b, d] -> images in [-1, 1].

    Attributes:
        image_shape: (height, width, channels); square.
        width: channels of the last features but one, w.
        base: size of the first features.
        extra_layers: 3x3 convolutions before the last change of resolution.
        momentum: of the running averages of batch norm.
    """

    image_shape: tuple[int, int, int]
    width: int = 128
    base: int = 4
    extra_layers: int = 0
    momentum: float = 0.9

    @nn.compact
    def __call__(self, z: Float[Array, "b d"], train: bool = False, present: Bool[Array, " b"] | None = None) -> Image:
        """Draw images.

        Args:
            z: noise.
            train: normalise by this batch's statistics and, if `batch_stats` is mutable, update the averages; else
                normalise by these.
            present: whose features the batch's statistics are of; None = all.
        """
        settings = {"use_bias": False, "kernel_init": nn.initializers.normal(0.02), **self.dtypes}
        norm = partial(BatchNorm, self.momentum, **self.dtypes)
        size, _, channels = self.image_shape
        count = resolutions(size, self.base)
        features = self.width << (count - 1)

        h = nn.Dense(self.base**2 * features, name="project", **settings)(z)
        h = jax.nn.relu(norm(name="norm_0")(h.reshape(-1, self.base, self.base, features), train, present))
        for i in range(1, count):
            features = self.width << (count - 1 - i)
            h = nn.ConvTranspose(features, (4, 4), (2, 2), name=f"up_{i - 1}", **settings)(h)
            h = jax.nn.relu(norm(name=f"norm_{i}")(h, train, present))
        for i in range(self.extra_layers):
            h = Conv3x3(features, settings["kernel_init"], name=f"extra_{i}", **self.dtypes)(h)
            h = jax.nn.relu(norm(name=f"norm_extra_{i}")(h, train, present))
        h = nn.ConvTranspose(channels, (4, 4), (2, 2), name=f"up_{count - 1}", **settings)(h)
        return jnp.tanh(h.astype(jnp.float32))


class Discriminator(Module):
    """images -> logit of each.

    Attributes:
        width: channels after the first convolution, w.
        base: size of the last features.
        extra_layers: 3x3 convolutions after the first change of resolution.
        norm: "batch", "layer" or "none".
    """

    width: int = 128
    base: int = 4
    extra_layers: int = 0
    norm: str = "batch"

    @nn.compact
    def __call__(self, images: Image, train: bool = False, present: Bool[Array, " b"] | None = None) -> PerExample:
        """The logits, float32; `train` makes no difference. Batch norm is by the images that are present; None = all.

        Raises:
            ValueError: for an unknown norm.
        """
        if self.norm not in NORMS:
            raise ValueError(f"unknown norm {self.norm!r} of the DCGAN discriminator; use one of {NORMS}")
        kernel_init = nn.initializers.normal(0.02)
        norms: dict[str, Any] = {
            "batch": lambda name: lambda h: BatchNorm(None, name=name, **self.dtypes)(h, present=present),
            "layer": partial(GroupNorm, num_groups=1, **self.dtypes),
            "none": lambda name: lambda h: h,
        }
        activate = partial(jax.nn.leaky_relu, negative_slope=0.2)

        h = images
        for i in range(resolutions(images.shape[1], self.base)):
            settings = {"padding": ((1, 1), (1, 1)), "use_bias": self.norm == "none", "kernel_init": kernel_init}
            h = nn.Conv(self.width << i, (4, 4), (2, 2), name=f"down_{i}", **settings, **self.dtypes)(h)
            h = activate(norms[self.norm](name=f"norm_{i}")(h) if i else h)
            for j in range(self.extra_layers if i == 0 else 0):
                h = Conv3x3(self.width, kernel_init, name=f"extra_{j}", **self.dtypes)(h)
                h = activate(norms[self.norm](name=f"norm_extra_{j}")(h))
        logits = nn.Dense(1, use_bias=self.norm == "none", kernel_init=kernel_init, name="logit", **self.dtypes)
        return logits(h.reshape(h.shape[0], -1))[:, 0].astype(jnp.float32)
