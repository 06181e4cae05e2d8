"""PixelCNN++ as a model of images (arXiv:1701.05517): each pixel's channels given all pixels before it.

    log p(x | y) = sum over pixels of log P(x_ij | x_<ij, y),    minimised as bits/dim: -log p / (h w c log 2)

P is a discretized mixture of logistics (`genjax.losses.mixture_logistics`), the network is `genjax.nn.pixelcnnpp`. The
value is the exact bits/dim of 8-bit images, no bound; where a data set has gaps in its histogram, such as the 17
levels of the digits, a mixture that puts spikes on what there is gets far below what photographs allow.

Sampling goes row by row, pixel by pixel, in two nested scans with caches: the down-shifted stream once a row, the other
once a pixel. Each image's noise comes from its own index.

Deviations: the loss is the mean over the dimensions, so that learning rates don't depend on the size of the images;
the learning rate of the paper's code also decays by a factor of .999995 a step.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Weights
from genjax.families.settings import expect_labels
from genjax.families.shared.assembly import builder, one_player
from genjax.families.terms import mean_of
from genjax.losses import mixture_logistics
from genjax.nn import pixelcnnpp
from genjax.nn.layers.shifted_conv import empty_cache
from genjax.typing import Batch, DataSpec, Key, Params


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: fields of `genjax.nn.pixelcnnpp.PixelCNNpp`.
        num_components: logistics in the mixture of each pixel.
        conditional: on the class label, which conditions every block.
        dtype: of the network's computation; parameters and the last layer stay float32.
    """

    network: Mapping[str, Any]
    num_components: int = 10
    conditional: bool = False
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`: `batch_size`, images sampled at once, over all devices."""

    batch_size: int = 64


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    spec: DataSpec
    network: pixelcnnpp.PixelCNNpp

    @property
    def bits_per_nat(self) -> float:
        """What turns nats of an image into bits/dim."""
        return 1 / (math.prod(self.spec.image_shape) * math.log(2))

    def init(self, key: Key, batch: Batch):
        """Fresh parameters, of which gains and biases are fit to the images of `batch`; nothing beside them is kept."""
        params = self.network.init(key, batch["image"], self._label(batch))["params"]
        return {"model": params}, ()

    def _label(self, batch: Batch):
        """The labels of a batch; None for an unconditional model."""
        return batch["label"] if self.network.num_classes else None

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean bits/dim of a batch, with dropout."""
        image, dropout = inputs.batch["image"], {"dropout": rng.stream(inputs.key, "dropout")}
        raw = self.network.apply({"params": params}, image, self._label(inputs.batch), train=True, rngs=dropout)
        return LossOutputs({"loss": mean_of(-mixture_logistics.log_prob(raw, image), self.bits_per_nat)}, {}, ())

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """-log p of each example, exact: in nats, and in bits/dim."""
        raw = self.network.apply({"params": weights.params["model"]}, batch["image"], self._label(batch))
        nats = -mixture_logistics.log_prob(raw, batch["image"])
        return {"nll_nats": nats, "bits_per_dim": nats * self.bits_per_nat}

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Draw images (`SampleFn`)."""
        params, label = weights.params["model"], conditions.label if self.network.num_classes else None
        keys = rng.of_samples(key, index)
        height, width, channels = self.spec.image_shape
        blank = jnp.zeros((keys.shape[0], height, width, channels))

        def decode(method, cache, *args):
            values, new = self.network.apply(
                {"params": params, "cache": cache}, *args, method=method, mutable=["cache"]
            )
            return values, new["cache"]

        def draw_row(carry, row):
            images, cache = carry
            above, cache = decode("decode_row", cache, images, label, row)

            def draw_pixel(carry, column):
                images, cache = carry
                raw, cache = decode("decode_pixel", cache, images, label, above, row, column)
                own = jax.vmap(lambda k: jax.random.fold_in(k, row * width + column))(keys)
                pixel = mixture_logistics.sample(raw[:, None, None], channels, own)
                return (jax.lax.dynamic_update_slice(images, pixel, (0, row, column, 0)), cache), None

            return jax.lax.scan(draw_pixel, (images, cache), jnp.arange(width))[0], None

        start = (blank, empty_cache(self.network, params, blank, label))
        (images, _), _ = jax.lax.scan(draw_row, start, jnp.arange(height))
        return Samples(images)


@builder("pixelcnnpp", Settings, Sampling)
def build(settings: Settings, sampling: Sampling, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, a conditional model of unlabelled data, or images neither grey nor RGB.
    """
    if settings.conditional:
        expect_labels(spec, "config.model.conditional=True")
    network = pixelcnnpp.PixelCNNpp(
        out_channels=mixture_logistics.num_params(spec.image_shape[-1], settings.num_components),
        num_classes=spec.num_classes if settings.conditional else 0,
        dtype=settings.dtype,
        **settings.network,
    )
    model = Model(spec, network)
    interface = ImageSampler(model.sample_images, spec.image_shape, network.num_classes)
    return one_player(model, interface, pixelcnnpp.LOGICAL_AXES)
