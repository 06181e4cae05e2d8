"""VQ-VAE-2: images as grids of discrete codes at several scales, and back (arXiv:1906.00446).

The network is `genjax.nn.hierarchy`: coarse codes first, finer ones quantised with the coarser ones known. The loss
is that of VQ-VAE, summed over the levels, each with a codebook of its own (`genjax.families.shared.codebooks`).
Priors over the codes draw images, the top one on its own and each finer one given the coarser.

See `genjax.nn.hierarchy` for what the paper leaves open.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from genjax.core import rng
from genjax.families.base import Family
from genjax.families.shared import codebooks
from genjax.families.shared.assembly import builder
from genjax.nn import hierarchy
from genjax.nn.hierarchy import Grids, Hierarchy, Vectors
from genjax.nn.layers.quantize import Quantized
from genjax.typing import DataSpec, Image, Key, Params


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        downs: halvings from the image to the finest codes, from there to the next coarser ones, ...
        codebook, width, num_res_blocks, res_width, commitment_cost, data_variance, dtype: as of VQ-VAE, of all levels.
    """

    codebook: Mapping[str, Any]
    downs: tuple[int, ...] = (2, 1)
    width: int = 128
    num_res_blocks: int = 2
    res_width: int = 64
    commitment_cost: float = 0.25
    data_variance: float = 1.0
    dtype: str = "float32"


class Networks(NamedTuple):
    """The hierarchy of all levels."""

    hierarchy: Hierarchy

    def init(self, key: Key, image: Image, vectors: Vectors) -> dict[str, Params]:
        """Fresh parameters."""
        return {"network": self.hierarchy.init(rng.stream(key, "network"), image, vectors)["params"]}

    def encode(self, params: Params, images: Image, vectors: Vectors) -> tuple[Quantized, ...]:
        """What is quantised at each level."""
        return self.hierarchy.apply({"params": params["network"]}, images, vectors, method="encode")

    def decode(self, params: Params, z_q: Grids) -> Image:
        """Images of the code vectors of all levels."""
        return self.hierarchy.apply({"params": params["network"]}, z_q, method="decode")


@builder("vqvae2", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, fewer than two levels, or images that can't be halved so often.
    """
    codebook, downs = codebooks.read_codebook(settings, "vqvae2"), tuple(settings.downs)
    if len(downs) < 2 or min(downs) < 1:
        raise ValueError(
            f"config.model.downs={downs} must name the halvings of two levels or more, each at least 1; "
            "one level is the family vqvae"
        )
    codebooks.expect_halvings(sum(downs), spec, f"downs={downs}")
    networks = Networks(Hierarchy(spec.image_shape[2], downs, codebook.dim, **codebooks.sizes_of(settings)))
    return codebooks.make(settings, codebook, networks, downs, spec, hierarchy.LOGICAL_AXES)
