"""BEiT: a vision transformer that knows where patches are only by how far they are apart (arXiv:2106.08254).

    x_0     a class token, then each patch of p x p pixels by a Dense layer; masked patches are replaced by one vector
    x       = x + gamma_1 * proj_out(softmax(q k^T / sqrt(d) + B) v),   q, k, v = qkv(norm x) + (q_bias, 0, v_bias)
    x       = x + gamma_2 * mlp_out(gelu(mlp_in(norm x)))

B[i, j] is a learned number a head for each offset (row_i - row_j, column_i - column_j), and one each from the class
token to patches, from patches to it, and to itself: a table of (2h - 1)(2w - 1) + 3 rows for a grid of h x w patches.
In pretraining all blocks share one table, a classifier has one in each block. There are no other positions. A bias of
the keys would cancel in the softmax: there is none. gamma (LayerScale, arXiv:2103.17239) are learned vectors, small at
first; in training each branch of each example is dropped with a probability that grows linearly from 0 in the first
block to `drop_path` in the last one (arXiv:1603.09382), the others scaled up. gelu is the exact one, norms have
eps 1e-6. Weights start normal, std `init_std`, cut at one standard deviation, and those of `proj_out` and `mlp_out` of
block l, from 1, are divided by sqrt(2 l). The paper's .02, with its gamma of .1, suits a width of 768: at 64, attention
adds next to nothing to a patch at first, and of hidden ones no more is learned than how frequent each code is.

`MaskedBeit` predicts the code of each patch; `BeitClassifier` the class of an image, by the mean of its patches. With
the weights of `transformers` or of the release (`genjax.pretrained.beit`) both equal the originals (`tests/parity`).

Deviation: the release cuts the first weights of its classifiers at 2, not at .02.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.core.arguments import ArgumentError, arg
from genjax.nn.dit import patchify
from genjax.nn.layers.attention import attend, split_heads
from genjax.nn.layers.module import Module
from genjax.nn.transformer import ACTIVATIONS
from genjax.typing import Array, Bool, Float, Image, Int, Params

LOGICAL_AXES = [
    (r"patches/kernel$", (None, "embed")),
    (r"qkv/kernel$", ("embed", "heads")),
    (r"proj_out/kernel$", ("heads", "embed")),
    (r"mlp_in/kernel$", ("embed", "mlp")),
    (r"mlp_out/kernel$", ("mlp", "embed")),
    (r"head/kernel$", ("embed", "vocab")),
]

EPS = 1e-6
"""Of all norms."""
INIT_STD = 0.02
"""Standard deviation of fresh weights in the paper, before they are cut."""

States = Float[Array, "b s d"]
Bias = Float[Array, "heads s s2"]
PatchMask = Bool[Array, "b rows columns"]


def cut_normal(std: float = INIT_STD):
    """The initializer of all weights: normal, cut at one standard deviation."""
    return nn.initializers.truncated_normal(std, lower=-1.0, upper=1.0)


def relative_index(rows: int, columns: int) -> Int[np.ndarray, "s s"]:
    """The row of the table for each pair (query, key), the class token first, then patches in raster order."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    down, right = (place[:, None] - place[None, :] for place in (row, column))
    offsets = (2 * rows - 1) * (2 * columns - 1)
    index = np.full((rows * columns + 1,) * 2, offsets)
    index[1:, 1:] = (down + rows - 1) * (2 * columns - 1) + right + columns - 1
    index[1:, 0] = offsets + 1
    index[0, 0] = offsets + 2
    return index


class RelativeBias(nn.Module):
    """What is added to the logits of attention for how patches lie to each other; zero at first.

    Attributes:
        grid: rows and columns of patches.
        num_heads: of the attention.
        param_dtype: of the table.
    """

    grid: tuple[int, int]
    num_heads: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> Bias:
        """B of each head, query and key."""
        index = relative_index(*self.grid)
        shape = (int(index.max()) + 1, self.num_heads)
        table = self.param("table", nn.initializers.zeros_init(), shape, self.param_dtype)
        return jnp.moveaxis(table[index], -1, 0)


class BeitBlock(Module):
    """One block; see the module.

    Attributes:
        layer: number of the block, from 1.
        num_heads: divides the width.
        mlp_ratio: hidden features of the MLP, in widths.
        layer_scale: gamma at first.
        init_std: standard deviation of fresh weights, before they are cut.
        drop_path: probability of dropping each branch of an example in training.
        grid: of the block's own bias; None where it is given one.
    """

    layer: int
    num_heads: int
    mlp_ratio: int | float = 4
    layer_scale: float = 0.1
    init_std: float = INIT_STD
    drop_path: float = 0.0
    grid: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, x: States, bias: Bias | None = None, train: bool = False) -> States:
        """x after the block; `bias` is that of all blocks, None where each has its own."""
        width, std = x.shape[-1], self.init_std / (2 * self.layer) ** 0.5
        if self.grid is not None:
            bias = RelativeBias(self.grid, self.num_heads, self.param_dtype, name="position_bias")()

        q, k, v = split_heads(self._qkv(_norm(self, "norm_attention")(x)), self.num_heads, new_order=True)
        h = attend(q, k, v, bias=bias[None]).reshape(x.shape)
        x = x + self._branch(_dense(self, width, "proj_out", std)(h), "gamma_1", train)

        h = _dense(self, int(self.mlp_ratio * width), "mlp_in", self.init_std)(_norm(self, "norm_mlp")(x))
        return x + self._branch(_dense(self, width, "mlp_out", std)(ACTIVATIONS["gelu"](h)), "gamma_2", train)

    def _qkv(self, x):
        """The joint projection, with a bias of queries and values alone."""
        width = x.shape[-1]
        q_bias, v_bias = (
            self.param(name, nn.initializers.zeros_init(), (width,), self.param_dtype) for name in ("q_bias", "v_bias")
        )
        qkv = nn.Dense(3 * width, use_bias=False, kernel_init=cut_normal(self.init_std), name="qkv", **self.dtypes)(x)
        return qkv + jnp.concatenate([q_bias, jnp.zeros_like(q_bias), v_bias]).astype(qkv.dtype)

    def _branch(self, h, name, train):
        """A branch as it is added to x."""
        gamma = self.param(name, nn.initializers.constant(self.layer_scale), h.shape[-1:], self.param_dtype)
        drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), name=f"drop_{name}")
        return drop(gamma.astype(h.dtype) * h, deterministic=not train)


class Beit(Module):
    """Images to features of the class token and of each patch, without a last norm; see the module.

    Attributes:
        patch_size: pixels along a side of a patch.
        width: features of a token.
        depth: number of blocks.
        num_heads: attention heads; divides the width.
        mlp_ratio: hidden features of the MLPs, in widths.
        layer_scale: gamma at first: .1 of base, 1e-5 of large models.
        init_std: standard deviation of fresh weights, before they are cut.
        drop_path: probability of dropping a branch of the last block in training.
        shared_bias: one table for all blocks, else one in each.
        masks: whether it has a vector for masked patches.
        dtype: of the computation, e.g. "bfloat16"; None for that of the input.
        remat: recompute each block's inner results in the backward pass instead of keeping them in memory.
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int | float = 4
    layer_scale: float = 0.1
    init_std: float = INIT_STD
    drop_path: float = 0.0
    shared_bias: bool = True
    masks: bool = True
    remat: bool = False

    @nn.compact
    def __call__(
        self, images: Image, mask: PatchMask | None = None, train: bool = False, depth: int | None = None
    ) -> States:
        """Features [b, 1 + h w, width], the class token's first, then those of patches in raster order.

        Args:
            images: images in [-1, 1].
            mask: true at patches that are hidden; None for none.
            train: drop path is on.
            depth: go through so many blocks only; None for all.

        Raises:
            ValueError: for images that can't be cut into patches, or heads that don't divide the width.
        """
        grid = patch_grid(images.shape[1:3], self.patch_size)
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(f"a width of {self.width} can't be cut into num_heads={self.num_heads} heads")
        x = self._embed(images, mask)
        bias = (
            RelativeBias(grid, self.num_heads, self.param_dtype, name="position_bias")() if self.shared_bias else None
        )
        block = nn.remat(BeitBlock, static_argnums=(3,)) if self.remat else BeitBlock
        for i in range(self.depth if depth is None else depth):
            x = block(
                layer=i + 1,
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio,
                layer_scale=self.layer_scale,
                init_std=self.init_std,
                drop_path=self.drop_path * i / max(self.depth - 1, 1),
                grid=None if self.shared_bias else grid,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"block_{i}",
            )(x, bias, train)
        return x

    def _embed(self, images, mask):
        """The class token and patches, some of them hidden."""
        fresh = cut_normal(self.init_std)
        x = _dense(self, self.width, "patches", self.init_std)(patchify(images, self.patch_size))
        if self.masks:
            token = self.param("mask_token", fresh, (1, self.width), self.param_dtype).astype(x.dtype)
            x = x if mask is None else jnp.where(mask.reshape(*x.shape[:2], 1), token, x)
        first = self.param("class_token", fresh, (self.width,), self.param_dtype).astype(x.dtype)
        return jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, self.width)), x], axis=1)


class MaskedBeit(nn.Module):
    """BEiT as it is pretrained: the code of each patch, guessed from those that are not hidden.

    Attributes:
        num_codes: size of the codebook.
        trunk: fields of `Beit`; its table is shared.
        dtype: of the computation; None for that of the input. Logits are float32 at least.
    """

    num_codes: int
    trunk: Mapping[str, Any]
    dtype: Any = None

    def setup(self):
        """The modules."""
        self.beit = Beit(**self.trunk, dtype=self.dtype, name="trunk")
        self.norm_out = nn.LayerNorm(EPS, use_fast_variance=False, dtype=self.dtype)
        self.head = nn.Dense(self.num_codes, dtype=jnp.float32, kernel_init=cut_normal())

    def __call__(self, images: Image, mask: PatchMask, train: bool = False) -> Float[Array, "b rows columns k"]:
        """Logits of the codes of all patches."""
        x = self.norm_out(self.beit(images, mask, train))[:, 1:]
        return self.head(x).reshape(*mask.shape, self.num_codes)

    def features(self, images: Image, depth: int | None = None) -> Float[Array, "b d"]:
        """The mean over patches of what leaves the first `depth` blocks, or all; nothing is hidden."""
        return jnp.mean(self.beit(images, depth=depth)[:, 1:], axis=1)


class BeitClassifier(nn.Module):
    """BEiT as it is fine-tuned: the class of an image, from the mean over its patches.

    Attributes:
        num_classes: classes that it tells apart.
        trunk: fields of `Beit`; its blocks have a table each.
        dtype: of the computation; None for that of the input. Logits are float32 at least.
    """

    num_classes: int
    trunk: Mapping[str, Any]
    dtype: Any = None

    @nn.compact
    def __call__(self, images: Image, train: bool = False) -> Float[Array, "b k"]:
        """Logits of the classes; near 0 at first."""
        x = Beit(**self.trunk, shared_bias=False, masks=False, dtype=self.dtype, name="trunk")(images, train=train)
        x = nn.LayerNorm(EPS, use_fast_variance=False, dtype=self.dtype, name="norm_out")(jnp.mean(x[:, 1:], axis=1))
        return nn.Dense(self.num_classes, dtype=jnp.float32, kernel_init=cut_normal(INIT_STD * 1e-3), name="head")(x)


def patch_grid(size: tuple[int, ...], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches of images of a size.

    Raises:
        ValueError: if patches don't divide it.
    """
    if size[0] % patch_size or size[1] % patch_size:
        raise ValueError(
            f"patches of {patch_size} pixels don't divide images of {size[0]}x{size[1]}; "
            "choose another patch_size or image_size"
        )
    return size[0] // patch_size, size[1] // patch_size


def adopt_trunk(own: Params, other: Params) -> Params:
    """The parameters of a classifier whose trunk is that of another BEiT; its head stays as it is.

    A table that the other's blocks share goes to every block; what hides patches is left behind. A classifier of the
    same shapes is taken whole, with its head.

    Args:
        own: fresh parameters of a `BeitClassifier`.
        other: of a `MaskedBeit` or `BeitClassifier`.

    Raises:
        ValueError: for parameters of another network.
    """
    trunk = other.get("trunk", {})
    if "class_token" not in trunk:
        raise ArgumentError(
            f"a classifier starts from a BEiT: {arg('init_from')} has to name a run of the family beit or "
            "image_classifier, or be empty"
        )
    if jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, other):
        return dict(other)
    shared = {"position_bias": trunk["position_bias"]} if "position_bias" in trunk else {}
    kept = {name: value for name, value in trunk.items() if name in own["trunk"]}
    blocks = {name: {**shared, **value} for name, value in kept.items() if name.startswith("block_")}
    return {**own, "trunk": {**kept, **blocks}}


def _norm(module: nn.Module, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(EPS, use_fast_variance=False, dtype=module.dtype, param_dtype=module.param_dtype, name=name)


def _dense(module: nn.Module, features: int, name: str, std: float) -> nn.Dense:
    dtypes = {"dtype": module.dtype, "param_dtype": module.param_dtype}
    return nn.Dense(features, kernel_init=cut_normal(std), name=name, **dtypes)
