"""RealNVP: the exact density of images, by a network f that can be inverted (arXiv:1605.08803).

    log p(x) = log N(f(x); 0, I) + log |det df/dx|,    and a sample is f^-1(z) of z ~ N(0, I)

Minimised and reported as bits/dim of 8-bit images with uniform noise over their bins, a bound of the discrete bits/dim.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from genjax.core import images, rng
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Weights
from genjax.families.shared.assembly import builder, mean_loss, one_player
from genjax.losses import elbo
from genjax.nn import real_nvp
from genjax.typing import Batch, DataSpec, Image, Key, Params, PerExample


class Settings(NamedTuple):
    """`config.model`: the fields of `genjax.nn.real_nvp.RealNVP`, and the dtype of its computation."""

    network: Mapping[str, Any]
    dtype: str = "float32"


class Model(NamedTuple):
    """The network f, and the shape of its images."""

    network: real_nvp.RealNVP
    image_shape: tuple[int, int, int]

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        return {"model": self.network.init(key, batch["image"])["params"]}, ()

    def bits_per_dim(self, params: Params, image: Image, key: Key) -> PerExample:
        """Of 8-bit images, with noise drawn for each."""
        z, log_det = self.network.apply({"params": params}, images.dequantize(image, key))
        return elbo.bits_per_dim(elbo.standard_normal_log_prob(z) + log_det, z[0].size, images.BIN_WIDTH)

    def loss_fn(self, params: Params, inputs: LossInputs) -> LossOutputs:
        """Mean bits/dim of a batch."""
        return mean_loss(self.bits_per_dim(params, inputs.batch["image"], inputs.key))

    def evaluate(self, weights: Weights, batch: Batch, key: Key) -> dict[str, PerExample]:
        """Bits/dim of each example."""
        return {"bits_per_dim": self.bits_per_dim(weights.params["model"], batch["image"], key)}

    def sample(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Images of latents drawn for each sample."""
        z = rng.normal_of_samples(key, index, self.image_shape)
        return Samples(self.network.apply({"params": weights.params["model"]}, z, method="inverse").clip(-1, 1))


@builder("real_nvp", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config."""
    model = Model(real_nvp.RealNVP(dtype=settings.dtype, **settings.network), spec.image_shape)
    return one_player(model, ImageSampler(model.sample, spec.image_shape, 0), real_nvp.LOGICAL_AXES)
