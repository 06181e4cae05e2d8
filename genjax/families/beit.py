"""BEiT: a vision transformer that learns to see by guessing the codes of hidden patches (arXiv:2106.08254).

    codes = tokenizer(second view of x)            a frozen VQ-VAE or dVAE; one code a patch
    mask  = blocks of patches, about 40%           `genjax.losses.masked`
    minimise   - mean over hidden patches of log p(codes_i | x with hidden patches replaced by one vector)

The tokenizer sees the picture at `tokenizer_size` pixels, such that its grid of codes is that of the patches: in the
paper 112 for 14 x 14 codes of DALL-E's dVAE, which codes at 1/8, beside 14 x 14 patches of 16 pixels in 224.

It is for features: `FeatureExtractor` gives the mean over patches of what leaves block `feature_depth`; for linear
classifiers the paper takes a block in the middle, 9 of 12. To fine-tune the whole network, train a config of the family
`image_classifier` with `config.init_from` naming a run of this one.

`reconstruct` hides patches, and decodes the likeliest codes there beside the true ones of the others.

Metrics: the loss in nats a hidden patch, `accuracy` of the likeliest code there, `masked` share of the patches.

Deviations: the second view is the picture itself made smaller (lanczos), not cropped anew from the original file. The
paper crops at random sizes and changes colours; here pictures come as `config.data` says.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import images as images_lib
from genjax.core import rng
from genjax.families.base import (
    Conditions,
    Family,
    FeatureExtractor,
    LossInputs,
    LossOutputs,
    Player,
    Samples,
    Tokenizer,
    Weights,
    expect_parent,
    read_settings,
)
from genjax.families.base_terms import Term, mean_of
from genjax.losses import masked
from genjax.nn import beit
from genjax.typing import Array, Batch, Bool, DataSpec, Float, Image, Int, Key, Params, PyTree


class Settings(NamedTuple):
    """`config.model`: see `configs.beits.beit` for each field."""

    network: Mapping[str, Any]
    masking: Mapping[str, Any]
    tokenizer_size: int = 0
    feature_depth: int = 0
    dtype: str = "float32"


class Masking(NamedTuple):
    """`config.model.masking`, the arguments of `genjax.losses.masked.blockwise_mask`."""

    num_masked: int = 75
    min_block: int = 16
    min_aspect: float = 0.3


class Model(NamedTuple):
    """The pieces that the settings name, ready to use.

    Attributes:
        tokenizer: of the parent stage.
        view: (height, width) of the pictures that it sees.
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


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: not read, since nothing is sampled.
        spec: shape of the data.
        parents: "tokenizer".

    Raises:
        ValueError: for unknown fields, or a tokenizer whose codes aren't one a patch.
    """
    tokenizer = expect_parent(parents, "tokenizer", Tokenizer, "beit")
    settings = read_settings(Settings, model, "config.model of the beit family")
    pieces = make_model(settings, tokenizer, spec)
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=FeatureExtractor(partial(features, pieces), spec.image_shape, settings.network["width"]),
        logical_axes=tuple(beit.LOGICAL_AXES),
        reconstruct=partial(reconstruct, pieces),
    )


def make_model(settings: Settings, tokenizer: Tokenizer, spec: DataSpec) -> Model:
    """The network for a tokenizer.

    Raises:
        ValueError: as `build`.
    """
    grid = beit.patch_grid(spec.image_shape[:2], settings.network["patch_size"])
    masking = read_settings(Masking, settings.masking, "config.model.masking of the beit family")
    masked.check(grid, **masking._asdict())
    depth = settings.feature_depth or settings.network["depth"]
    if not 0 < depth <= settings.network["depth"]:
        raise ValueError(f"config.model.feature_depth={depth} of a network with {settings.network['depth']} blocks")
    return Model(
        tokenizer=tokenizer,
        view=_view(settings.tokenizer_size, tokenizer, grid, spec),
        network=beit.MaskedBeit(tokenizer.num_codes, dict(settings.network), dtype=settings.dtype),
        grid=grid,
        masking=masking,
        feature_depth=depth,
    )


def _view(size: int, tokenizer: Tokenizer, grid: tuple[int, int], spec: DataSpec) -> tuple[int, int]:
    """The size of the pictures that the tokenizer sees, checked."""
    height, width, channels = tokenizer.image_shape
    if len(tokenizer.grids) > 1 or channels != spec.image_shape[2]:
        raise ValueError(
            f"the tokenizer has {len(tokenizer.grids)} levels of codes and pictures with {channels} channels; beit "
            f"needs one level, and the {spec.image_shape[2]} channels of config.data: name another tokenizer"
        )
    view = (size, size) if size else (height, width)
    codes = tuple(cells * seen / whole for cells, seen, whole in zip(tokenizer.grids[0], view, (height, width)))
    if codes != grid:
        raise ValueError(
            f"pictures of {view[0]}x{view[1]} have {codes[0]:g}x{codes[1]:g} codes by this tokenizer and "
            f"{grid[0]}x{grid[1]} patches; change config.model.tokenizer_size or config.model.network.patch_size"
        )
    return view


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters; nothing beside them is kept."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    return {"model": model.network.init(key, image, jnp.zeros((1, *model.grid), bool))["params"]}, ()


def second_view(model: Model, images: Image) -> Float[Array, "b h2 w2 c"]:
    """The pictures as the tokenizer sees them."""
    if images.shape[1:3] == model.view:
        return images
    return jnp.clip(images_lib.resize(images, model.view, "lanczos3", antialias=True), -1.0, 1.0)


def batch_codes(model: Model, images: Image, frozen: Mapping[str, PyTree]) -> Int[Array, "b rows columns"]:
    """The code of each patch."""
    return jax.lax.stop_gradient(model.tokenizer.encode(frozen["tokenizer"], second_view(model, images))[0])


def draw_masks(model: Model, count: int, key: Key) -> Bool[Array, "b rows columns"]:
    """Which patches of so many pictures are hidden."""
    draw = partial(masked.blockwise_mask, grid=model.grid, **model.masking._asdict())
    return jax.vmap(draw)(jax.random.split(key, count))


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean -log p of the codes of hidden patches, in nats a patch."""
    images, key = inputs.batch["image"], inputs.key
    codes = batch_codes(model, images, inputs.frozen)
    mask = draw_masks(model, images.shape[0], rng.stream(key, "mask"))
    dropout = {"dropout": rng.stream(key, "dropout")}
    logits = model.network.apply({"params": params}, images, mask, train=True, rngs=dropout)
    hidden, right = jnp.sum(mask), mask & (jnp.argmax(logits, axis=-1) == codes)
    metrics = {
        "accuracy": Term(jnp.sum(right, dtype=jnp.float32), hidden),
        "masked": mean_of(mask.astype(jnp.float32)),
    }
    return LossOutputs({"loss": Term(jnp.sum(masked.masked_cross_entropy(logits, codes, mask)), hidden)}, metrics, ())


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """Of each held-out example, with patches hidden as in training: nats a hidden patch, and accuracy there."""
    images = batch["image"]
    codes = batch_codes(model, images, weights.frozen)
    mask = draw_masks(model, images.shape[0], rng.stream(key, "mask"))
    logits = model.network.apply({"params": weights.params["model"]}, images, mask)
    hidden = jnp.sum(mask, axis=(1, 2))
    return {
        "loss": masked.masked_cross_entropy(logits, codes, mask) / hidden,
        "accuracy": jnp.sum(mask & (jnp.argmax(logits, axis=-1) == codes), axis=(1, 2)) / hidden,
    }


def features(model: Model, weights: Weights, images: Image) -> Float[Array, "b d"]:
    """The mean over patches after `feature_depth` blocks; nothing is hidden."""
    variables = {"params": weights.params["model"]}
    return model.network.apply(variables, images, model.feature_depth, method="features").astype(jnp.float32)


def reconstruct(model: Model, weights: Weights, images: Image, key: Key) -> Image:
    """Pictures of the true codes where patches are seen, and of the likeliest where they are hidden."""
    codes = batch_codes(model, images, weights.frozen)
    mask = draw_masks(model, images.shape[0], rng.stream(key, "mask"))
    logits = model.network.apply({"params": weights.params["model"]}, images, mask)
    guessed = jnp.where(mask, jnp.argmax(logits, axis=-1).astype(codes.dtype), codes)
    decoded = model.tokenizer.decode(weights.frozen["tokenizer"], (guessed,))
    same = decoded.shape == images.shape
    return decoded if same else images_lib.resize(decoded, images.shape[1:3])


def sample(weights: Weights, conditions: Conditions, key: Key) -> Samples:
    """Refuses: it guesses what is hidden in a picture, and draws none.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "a beit draws no pictures: it is for features. Measure them with launch/evaluate.py --probe_data=DATASET, or "
        "fine-tune it with a config of the family image_classifier and --config.init_from=THIS_RUN"
    )
