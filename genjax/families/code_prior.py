"""Priors over the codes of a tokenizer: what makes VQ-VAE and VQ-VAE-2 generators (arXiv:1711.00937, 1906.00446).

A tokenizer turns an image into grids of codes c_0 (the coarsest), c_1, ...  With the label y,

    p(c_0, c_1, .. | y) = prod_l prod_t p(c_l[t] | c_l[<t], c_0 .. c_(l-1), y)

in raster order. Each factor over l is a player of its own, "level_0", "level_1", ..: a causal network of codes
(`genjax.nn.code_networks`) that minimises its mean -log p in nats a code. Coarser codes reach a finer level as a map of
features (`CodeContext`). The levels share no parameters.

Images are drawn level after level, each by one scan with the network's cache, and decoded by the tokenizer, whose
weights are frozen. With `label_dropout` a share of the labels is replaced by the null class, which allows guidance of
the logits (arXiv:2207.12598). `code_noise` replaces a share of the codes that a network is shown in training, of its
own level and of coarser ones, by random codes, never those that it has to predict: against learning small sets by
heart, and because sampling shows it codes that no image has.

Batches have "codes_0", "codes_1", .. (written once by launch/encode.py), or "image", which is then encoded.

Evaluation: `nll_nats` of all codes of an example, `bits_per_dim`, and of each level `level_0_nats_per_code` and
`level_0_bits_per_dim`. Bits are per channel of a pixel of the image. They are those of the codes, so runs on one
tokenizer can be compared, but not with a model of pixels.

Deviations: guidance and noise are not of the papers. VQ-VAE-2 trains its prior on codes of the training set as they
are, and rejects samples by a classifier; that is `genjax/pipelines`.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from genjax.autoregressive.sample import decode
from genjax.conditioning import inputs as inputs_lib
from genjax.core import rng
from genjax.families.base import Family, LossInputs, LossOutputs, Player
from genjax.families.interfaces import Codes, Conditions, ImageSampler, Index, Samples, Tokenizer, Weights
from genjax.families.settings import expect_labels, make_named
from genjax.families.shared import codes as codes_lib
from genjax.families.shared.assembly import builder
from genjax.families.shared.codes import OPTIONS
from genjax.families.terms import mean_of
from genjax.nn import code_networks, pixelcnn, pixelsnail, transformer
from genjax.nn.code_networks import CodeContext
from genjax.typing import Array, Batch, DataSpec, Float, Int, Key, Labels, Params

NETWORKS: dict[str, Any] = {
    "gated_pixelcnn": pixelcnn.GatedPixelCNN,
    "pixelsnail": pixelsnail.PixelSNAIL,
    "transformer": transformer.CodeTransformer,
}


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        networks: "level_0", .. -> "name", one of `NETWORKS`, and fields of its module, of each level of the tokenizer.
        context: fields of `genjax.nn.code_networks.CodeContext`: how coarser levels' codes reach a finer level.
        conditional: on the class label.
        label_dropout: share of labels replaced by the null class, for guidance.
        code_noise: share of the codes shown in training that are replaced by random ones.
        dtype: of the networks' computation; parameters stay float32.
    """

    networks: Mapping[str, Mapping[str, Any]]
    context: Mapping[str, Any]
    conditional: bool = False
    label_dropout: float = 0.0
    code_noise: float = 0.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use.

    Attributes:
        tokenizer: of the parent stage.
        networks: of each level, coarse to fine.
        contexts: of each level but the coarsest, the network that makes features of the coarser codes.
        num_classes: labels that condition the networks, 0 = none; also the label of the null class.
        label_dropout, code_noise: see `Settings`.
    """

    tokenizer: Tokenizer
    networks: tuple[nn.Module, ...]
    contexts: tuple[nn.Module | None, ...]
    num_classes: int
    label_dropout: float
    code_noise: float

    def init(self, key: Key, batch: Batch):
        """Fresh parameters of every level; nothing beside them is kept."""
        codes = tuple(jnp.zeros((1, *network.grid), jnp.int32) for network in self.networks)
        label = jnp.zeros((1,), jnp.int32) if self.num_classes else None
        players = {}
        for level, (network, context) in enumerate(zip(self.networks, self.contexts, strict=True)):
            own, params, features = rng.stream(key, f"level_{level}"), {}, None
            if context is not None:
                features, variables = context.init_with_output(rng.stream(own, "context"), codes[:level])
                params["context"] = variables["params"]
            params["network"] = network.init(rng.stream(own, "network"), codes[level], label, features)["params"]
            players[f"level_{level}"] = params
        return players, ()

    def loss_fn(self, level: int, params: Params, inputs: LossInputs):
        """Mean -log p of a level's codes, in nats a code."""
        codes = codes_lib.of_batch(self.tokenizer, inputs.batch, inputs.frozen)
        shown = self._noisy(codes, rng.stream(inputs.key, "code_noise"))
        label = self._dropped_labels(inputs.batch, rng.stream(inputs.key, "label"))
        logits = self._logits(level, params, shown, label, rng.stream(inputs.key, "dropout"))
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, codes[level])
        right = (jnp.argmax(logits, axis=-1) == codes[level]).astype(jnp.float32)
        return LossOutputs({"loss": mean_of(nats)}, {"accuracy": mean_of(right)}, inputs.extra)

    def _noisy(self, codes: Codes, key: Key) -> Codes:
        """Codes of which a share is replaced by any."""
        if not self.code_noise:
            return codes

        def replace(level, grid):
            which, what = jax.random.split(jax.random.fold_in(key, level))
            anew = jax.random.randint(what, grid.shape, 0, self.tokenizer.num_codes)
            return jnp.where(jax.random.bernoulli(which, self.code_noise, grid.shape), anew, grid)

        return tuple(replace(level, grid) for level, grid in enumerate(codes))

    def _dropped_labels(self, batch: Batch, key: Key) -> Labels | None:
        """The labels, a share of them replaced by the null class; None for an unconditional model."""
        if not self.num_classes:
            return None
        null = jnp.full_like(batch["label"], self.num_classes)
        return inputs_lib.drop_share(batch["label"], null, self.label_dropout, key)

    def _logits(
        self, level: int, params: Params, codes: Codes, label: Labels | None, dropout: Key | None = None
    ) -> Float[Array, "b h w k"]:
        """The logits of a level; dropout is on if a key for it is given."""
        settings = {"train": dropout is not None, "rngs": None if dropout is None else {"dropout": dropout}}
        features = self._context(level, params, codes[:level], **settings)
        return self.networks[level].apply({"params": params["network"]}, codes[level], label, features, **settings)

    def _context(self, level: int, params: Params, coarser: Codes, **settings) -> Float[Array, "b h w c"] | None:
        """The context of a level by the coarser ones; None of the coarsest."""
        if not level:
            return None
        return self.contexts[level].apply({"params": params["context"]}, coarser, **settings)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """-log p of each example's codes; see the module for the names and units."""
        codes = codes_lib.of_batch(self.tokenizer, batch, weights.frozen)
        label = batch["label"] if self.num_classes else None
        nats_per_bit_and_dim = math.log(2) * math.prod(self.tokenizer.image_shape)
        total, metrics = jnp.zeros((codes[0].shape[0],)), {}
        for level, grid in enumerate(codes):
            logits = self._logits(level, weights.params[f"level_{level}"], codes, label)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, grid).sum(axis=(1, 2))
            metrics[f"level_{level}_nats_per_code"] = nats / math.prod(grid.shape[1:])
            metrics[f"level_{level}_bits_per_dim"] = nats / nats_per_bit_and_dim
            total = total + nats
        return {"nll_nats": total, "bits_per_dim": total / nats_per_bit_and_dim, **metrics}

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Draw codes, and decode them; conditions as for `sample_codes`."""
        codes = self.sample_codes(weights, conditions, index, key)
        return Samples(self.tokenizer.decode(weights.frozen["tokenizer"], codes))

    def sample_codes(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Codes:
        """Draw the codes of all levels, as `SampleFn` draws images.

        Options are those of `OPTIONS`; `codes` and `codes_mask` complete images.

        Raises:
            ValueError: guidance of a model that was not trained for it.
        """
        needed = "a conditional prior trained with config.model.label_dropout > 0"
        conditions.check_guidance(self.num_classes and self.label_dropout, needed)
        codes: Codes = ()
        for level in range(len(self.networks)):
            keys = rng.of_samples(rng.stream(key, f"level_{level}"), index)
            codes = (*codes, self._sample_level(level, weights.params[f"level_{level}"], codes, conditions, keys))
        return codes

    def _sample_level(
        self, level: int, params: Params, coarser: Codes, conditions: Conditions, keys: Key
    ) -> Int[Array, "b h w"]:
        """Draw one level, given the coarser ones."""
        network, batch = self.networks[level], keys.shape[0]
        label = conditions.label if self.num_classes else None
        features = self._context(level, params, coarser)
        if "guidance_scale" in conditions.options:
            batch, label = 2 * batch, jnp.concatenate([label, jnp.full_like(label, self.num_classes)])
            features = None if features is None else jnp.tile(features, (2, 1, 1, 1))
        cache, step = code_networks.decoder(network, params["network"], batch, label, features)
        known = conditions.known_codes(level)
        tokens = decode(step, cache, math.prod(network.grid), keys, known=known, **conditions.options)
        return tokens.reshape(-1, *network.grid)


@builder("code_prior", Settings, tokenizer=Tokenizer)
def build(settings: Settings, spec: DataSpec, tokenizer: Tokenizer) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, a tokenizer of other images or with other levels, or a conditional model of
            unlabelled data.
    """
    model = make_model(settings, tokenizer, spec)
    axes = [axis for module in (code_networks, pixelcnn, pixelsnail, transformer) for axis in module.LOGICAL_AXES]
    interface = ImageSampler(model.sample_images, tokenizer.image_shape, model.num_classes, OPTIONS)
    return Family(
        init=model.init,
        players=tuple(Player(f"level_{level}", partial(model.loss_fn, level)) for level in range(len(tokenizer.grids))),
        evaluate=model.evaluate,
        interface=interface._replace(optional=("codes", "codes_mask")),
        logical_axes=tuple(axes),
    )


def make_model(settings: Settings, tokenizer: Tokenizer, spec: DataSpec) -> Model:
    """The networks of each level of the tokenizer."""
    codes_lib.expect_images(tokenizer, spec)
    if settings.conditional:
        expect_labels(spec, "config.model.conditional=True")
    names = [f"level_{level}" for level in range(len(tokenizer.grids))]
    if sorted(settings.networks) != names:
        raise ValueError(
            f"the tokenizer has the grids {tokenizer.grids}, so config.model.networks has to have {names}, "
            f"not {sorted(settings.networks)}; name a tokenizer or a prior with as many levels"
        )
    grids = [tuple(grid) for grid in tokenizer.grids]
    contexts = [CodeContext(tokenizer.num_codes, grid, dtype=settings.dtype, **settings.context) for grid in grids[1:]]
    num_classes = spec.num_classes if settings.conditional else 0
    shared = {"num_codes": tokenizer.num_codes, "num_classes": num_classes, "dtype": settings.dtype}
    shared["null_class"] = num_classes > 0 and settings.label_dropout > 0
    networks = tuple(
        make_named("network", NETWORKS, settings.networks[name], f"config.model.networks.{name}", grid=grid, **shared)
        for name, grid in zip(names, grids, strict=True)
    )
    return Model(tokenizer, networks, (None, *contexts), num_classes, settings.label_dropout, settings.code_noise)
