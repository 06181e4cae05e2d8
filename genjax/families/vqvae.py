"""VQ-VAE: images as a grid of discrete codes, and back (arXiv:1711.00937).

    z = encoder(x),   codes = argmin_k ||z - e_k||^2,   z_q = e_codes,   x' = decoder(z + sg(z_q - z))
    minimise  ||x - x'||^2 / data_variance + commitment_cost ||z - sg(z_q)||^2   ( + ||sg(z) - z_q||^2 )

the one-level case of `genjax.families.shared.codebooks`, which has the loss, its metrics and what is made of them.

Deviations. The paper's reconstruction term is a likelihood; a Gaussian of fixed variance gives the squared error.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from genjax.core import rng
from genjax.families.base import Family
from genjax.families.shared import codebooks
from genjax.families.shared.assembly import builder
from genjax.nn import coders
from genjax.nn.hierarchy import Grids, Vectors
from genjax.nn.layers import quantize
from genjax.nn.layers.quantize import Quantized
from genjax.typing import DataSpec, Image, Key, Params


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        codebook: fields of `genjax.nn.layers.quantize.CodebookSettings`.
        width: channels of the coders.
        num_downs: halvings from the image to the codes.
        num_res_blocks, res_width: residual blocks of each coder, and channels within them.
        commitment_cost: beta.
        data_variance: of the training pixels in [-1, 1]; the squared error is divided by it.
        dtype: of the networks' computation; parameters and codebook stay float32.
    """

    codebook: Mapping[str, Any]
    width: int = 128
    num_downs: int = 2
    num_res_blocks: int = 2
    res_width: int = 32
    commitment_cost: float = 0.25
    data_variance: float = 1.0
    dtype: str = "float32"


class Networks(NamedTuple):
    """An encoder and a decoder."""

    encoder: nn.Module
    decoder: nn.Module

    def init(self, key: Key, image: Image, vectors: Vectors) -> dict[str, Params]:
        """Fresh parameters."""
        z, encoder = self.encoder.init_with_output(rng.stream(key, "encoder"), image)
        return {"encoder": encoder["params"], "decoder": self.decoder.init(rng.stream(key, "decoder"), z)["params"]}

    def encode(self, params: Params, images: Image, vectors: Vectors) -> tuple[Quantized, ...]:
        """z and z_q of images."""
        return (quantize.quantize(self.encoder.apply({"params": params["encoder"]}, images), vectors[0]),)

    def decode(self, params: Params, z_q: Grids) -> Image:
        """x' of z_q."""
        return self.decoder.apply({"params": params["decoder"]}, z_q[0])


@builder("vqvae", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, or images that can't be halved `num_downs` times.
    """
    codebook, sizes = codebooks.read_codebook(settings, "vqvae"), codebooks.sizes_of(settings)
    codebooks.expect_halvings(settings.num_downs, spec, "num_downs")
    networks = Networks(
        coders.Encoder(num_downs=settings.num_downs, out_channels=codebook.dim, **sizes),
        coders.Decoder(num_ups=settings.num_downs, out_channels=spec.image_shape[2], **sizes),
    )
    return codebooks.make(settings, codebook, networks, (settings.num_downs,), spec, coders.LOGICAL_AXES)
