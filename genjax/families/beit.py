"""BEiT: a vision transformer that learns to see by guessing the codes of hidden patches (arXiv:2106.08254).

    codes = tokenizer(second view of x)            a frozen VQ-VAE or dVAE; one code a patch
    mask  = blocks of patches, about 40%           `genjax.losses.masked`
    minimise   - mean over hidden patches of log p(codes_i | x with hidden patches replaced by one vector)

The tokenizer sees the image at `tokenizer_size` pixels, such that its grid of codes is that of the patches: in the
paper 112 for 14 x 14 codes of DALL-E's dVAE, which codes at 1/8, beside 14 x 14 patches of 16 pixels in 224.

It is for features: `FeatureExtractor` gives the mean over patches of what leaves block `feature_depth`; for linear
classifiers the paper takes a block in the middle, 9 of 12. To fine-tune the whole network, train a config of the family
`image_classifier` with `config.init_from` naming a run of this one.

`reconstruct` hides patches, and decodes the most likely codes there beside the true ones of the others.

Metrics: the loss in nats a hidden patch, `accuracy` of the most likely code there, `masked` share of the patches.

Deviations: the second view is the image itself made smaller (lanczos), not cropped anew from the original file. The
paper crops at random sizes and changes colours; here images come as `config.data` says.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import images as images_lib
from genjax.core import rng
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import FeatureExtractor, Tokenizer, Weights
from genjax.families.settings import read_settings
from genjax.families.shared import codes as codes_lib
from genjax.families.shared.assembly import builder, one_player
from genjax.families.terms import Term, mean_of
from genjax.losses import masked
from genjax.nn import beit
from genjax.typing import Array, Batch, Bool, DataSpec, Float, Image, Int, Key, Params, PyTree


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: fields of `genjax.nn.beit.Beit`.
        masking: fields of `Masking`.
        tokenizer_size: pixels of the images that the tokenizer sees; 0 = those that it was trained on.
        feature_depth: blocks that features go through; 0 = all.
        dtype: of the network's computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    masking: Mapping[str, Any]
    tokenizer_size: int = 0
    feature_depth: int = 0
    dtype: str = "float32"


class Masking(NamedTuple):
    """`config.model.masking`, the arguments of `genjax.losses.masked.blockwise_mask`.

    Attributes:
        num_masked: patches that are hidden, at most.
        min_block: patches of the smallest block.
        min_aspect: height over width of a block, at least; its inverse at most.
    """

    num_masked: int = 75
    min_block: int = 16
    min_aspect: float = 0.3


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use.

    Attributes:
        tokenizer: of the parent stage.
        view: (height, width) of the images that it sees.
        network: the network with its head.
        grid: rows and columns of patches, and of codes.
        masking: what is hidden.
        feature_depth: blocks that features go through.
    """

    tokenizer: Tokenizer
    view: tuple[int, int]
    network: beit.MaskedBeit
    grid: tuple[int, int]
    masking: Masking
    feature_depth: int

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        return {"model": self.network.init(key, image, jnp.zeros((1, *self.grid), bool))["params"]}, ()

    def second_view(self, images: Image) -> Float[Array, "b h2 w2 c"]:
        """The images as the tokenizer sees them."""
        if images.shape[1:3] == self.view:
            return images
        return jnp.clip(images_lib.resize(images, self.view, "lanczos3", antialias=True), -1.0, 1.0)

    def batch_codes(self, images: Image, frozen: Mapping[str, PyTree]) -> Int[Array, "b rows columns"]:
        """The code of each patch."""
        return codes_lib.of_batch(self.tokenizer, {"image": self.second_view(images)}, frozen)[0]

    def draw_masks(self, count: int, key: Key) -> Bool[Array, "b rows columns"]:
        """Which patches of so many images are hidden."""

        def draw(one: Key) -> Bool[Array, "rows columns"]:
            return masked.blockwise_mask(one, grid=self.grid, **self.masking._asdict())

        return jax.vmap(draw)(jax.random.split(key, count))

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean -log p of the codes of hidden patches, in nats a patch."""
        images, key = inputs.batch["image"], inputs.key
        codes = self.batch_codes(images, inputs.frozen)
        mask = self.draw_masks(images.shape[0], rng.stream(key, "mask"))
        dropout = {"dropout": rng.stream(key, "dropout")}
        logits = self.network.apply({"params": params}, images, mask, train=True, rngs=dropout)
        hidden, right = jnp.sum(mask), mask & (jnp.argmax(logits, axis=-1) == codes)
        metrics = {
            "accuracy": Term(jnp.sum(right, dtype=jnp.float32), hidden),
            "masked": mean_of(mask.astype(jnp.float32)),
        }
        return LossOutputs(
            {"loss": Term(jnp.sum(masked.masked_cross_entropy(logits, codes, mask)), hidden)}, metrics, ()
        )

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Of each held-out example, with patches hidden as in training: nats a hidden patch, and accuracy there."""
        images = batch["image"]
        codes = self.batch_codes(images, weights.frozen)
        mask = self.draw_masks(images.shape[0], rng.stream(key, "mask"))
        logits = self.network.apply({"params": weights.params["model"]}, images, mask)
        hidden = jnp.sum(mask, axis=(1, 2))
        return {
            "loss": masked.masked_cross_entropy(logits, codes, mask) / hidden,
            "accuracy": jnp.sum(mask & (jnp.argmax(logits, axis=-1) == codes), axis=(1, 2)) / hidden,
        }

    def features(self, weights: Weights, images: Image) -> Float[Array, "b d"]:
        """The mean over patches after `feature_depth` blocks; nothing is hidden."""
        variables = {"params": weights.params["model"]}
        return self.network.apply(variables, images, self.feature_depth, method="features").astype(jnp.float32)

    def reconstruct(self, weights: Weights, images: Image, key: Key) -> Image:
        """Images of the true codes where patches are seen, and of the most likely where they are hidden."""
        codes = self.batch_codes(images, weights.frozen)
        mask = self.draw_masks(images.shape[0], rng.stream(key, "mask"))
        logits = self.network.apply({"params": weights.params["model"]}, images, mask)
        guessed = jnp.where(mask, jnp.argmax(logits, axis=-1).astype(codes.dtype), codes)
        decoded = self.tokenizer.decode(weights.frozen["tokenizer"], (guessed,))
        same = decoded.shape == images.shape
        return decoded if same else images_lib.resize(decoded, images.shape[1:3])


@builder("beit", Settings, tokenizer=Tokenizer)
def build(settings: Settings, spec: DataSpec, tokenizer: Tokenizer) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown fields, or a tokenizer whose codes aren't one a patch.
    """
    grid = beit.patch_grid(spec.image_shape[:2], settings.network["patch_size"])
    masking = read_settings(Masking, settings.masking, "config.model.masking of the beit family")
    masked.check(grid, **masking._asdict())
    depth = settings.feature_depth or settings.network["depth"]
    if not 0 < depth <= settings.network["depth"]:
        raise ValueError(f"config.model.feature_depth={depth} of a network with {settings.network['depth']} blocks")
    model = Model(
        tokenizer=tokenizer,
        view=_view(settings.tokenizer_size, tokenizer, grid, spec),
        network=beit.MaskedBeit(tokenizer.num_codes, dict(settings.network), dtype=settings.dtype),
        grid=grid,
        masking=masking,
        feature_depth=depth,
    )
    interface = FeatureExtractor(model.features, spec.image_shape, settings.network["width"])
    return one_player(model, interface, beit.LOGICAL_AXES, reconstruct=model.reconstruct)


def _view(size: int, tokenizer: Tokenizer, grid: tuple[int, int], spec: DataSpec) -> tuple[int, int]:
    """The size of the images that the tokenizer sees, checked."""
    height, width, channels = tokenizer.image_shape
    if len(tokenizer.grids) > 1 or channels != spec.image_shape[2]:
        raise ValueError(
            f"the tokenizer has {len(tokenizer.grids)} levels of codes and images with {channels} channels; beit "
            f"needs one level, and the {spec.image_shape[2]} channels of config.data: name another tokenizer"
        )
    view = (size, size) if size else (height, width)
    codes = tuple(cells * seen / whole for cells, seen, whole in zip(tokenizer.grids[0], view, (height, width)))
    if codes != grid:
        raise ValueError(
            f"images of {view[0]}x{view[1]} have {codes[0]:g}x{codes[1]:g} codes by this tokenizer and "
            f"{grid[0]}x{grid[1]} patches; change config.model.tokenizer_size or config.model.network.patch_size"
        )
    return view
