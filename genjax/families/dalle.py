"""DALL-E: images for texts, by one transformer over the text's tokens and the image's codes (arXiv:2102.12092).

    p(text, codes) = prod_i p(t_i | t_<i)  prod_k p(c_k | text, c_<k)
    minimise   w L_text + (1 - w) L_codes,     w = 1/8,     each the mean -log p of its own tokens, in nats

The codes are the most likely ones of a trained tokenizer (a dVAE, a VQ-VAE), whose weights are frozen. Texts are
shorter than the room for them: padding is seen, as a learned vector for each position, and never predicted
(`genjax.nn.dalle`); the paper doesn't say whether it is there.

Images are drawn code by code, in one scan with the network's cache, and decoded. `text_dropout` replaces a share of
the texts by nothing at all, which is all padding: that allows guidance of the logits (arXiv:2207.12598). Logits of
codes that are next to impossible are little but noise, which guidance would multiply; so with it top-k and top-p choose
among the codes by the model's own chances for the text, before guidance weighs the chosen ones. The paper guides by
choosing among samples with CLIP (`genjax.pipelines.reranking`); images are completed by `genjax.pipelines.vqvae`.

Batches have "tokens", and "codes_0" (written once by launch/encode.py) or "image", which is then encoded.

Evaluation, of each example: `text_nats_per_token`, `image_nats_per_token`, and `image_nats` of all its codes.

Deviations: text dropout and guidance are not of the paper. BPE dropout is the tokenizer's (`config.data.tokenizer`).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from genjax.autoregressive import masking
from genjax.autoregressive.sample import decode
from genjax.conditioning import inputs as inputs_lib
from genjax.core import rng
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, ImageSampler, Index, Samples, Tokenizer, Weights
from genjax.families.settings import expect_tokens
from genjax.families.shared import codes as codes_lib
from genjax.families.shared.assembly import builder, one_player
from genjax.families.shared.codes import OPTIONS
from genjax.families.terms import Term, mean_of
from genjax.nn import dalle
from genjax.typing import Array, Batch, DataSpec, Float, Int, Key, Params, PyTree, Tokens

RULED_OUT = -1e9
"""The logit of a code that can't be drawn: finite, so that a guidance scale of 0 leaves no NaN."""


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: fields of `genjax.nn.dalle.DalleTransformer`.
        text_weight: w, of the text's nats a token in the loss.
        text_dropout: share of texts replaced by nothing, for guidance.
        dtype: of the network's computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    text_weight: float = 1 / 8
    text_dropout: float = 0.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use.

    Attributes:
        tokenizer: of the parent stage.
        network: of the stream.
        text_weight: w.
        text_dropout: share of texts replaced by nothing.
    """

    tokenizer: Tokenizer
    network: dalle.DalleTransformer
    text_weight: float
    text_dropout: float

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        tokens, codes = (
            jnp.zeros((1, self.network.text_length), jnp.int32),
            jnp.zeros((1, *self.network.grid), jnp.int32),
        )
        return {"model": self.network.init(rng.stream(key, "network"), tokens, codes)["params"]}, ()

    def batch_codes(self, batch: Batch, frozen: Mapping[str, PyTree]) -> Int[Array, "b h w"]:
        """The codes of a batch: as they come, or of its images."""
        return codes_lib.of_batch(self.tokenizer, batch, frozen)[0]

    def loss_fn(self, params: Params, inputs: LossInputs):
        """The weighted mean -log p of text and codes, in nats a token."""
        codes = self.batch_codes(inputs.batch, inputs.frozen)
        tokens = self._dropped(inputs.batch["tokens"], rng.stream(inputs.key, "text"))
        dropout = rng.stream(inputs.key, "dropout")
        text, image = self._nats(params, tokens, codes, train=True, rngs={"dropout": dropout})
        losses = {
            "text": Term(text.sum(), (tokens != 0).sum(), self.text_weight),
            "image": mean_of(image, 1 - self.text_weight),
        }
        return LossOutputs(losses, losses, inputs.extra)

    def _dropped(self, tokens: Tokens, key: Key) -> Tokens:
        """The texts, a share of them replaced by nothing."""
        return inputs_lib.drop_share(tokens, jnp.zeros_like(tokens), self.text_dropout, key)

    def _nats(
        self, params: Params, tokens: Tokens, codes: Int[Array, "b h w"], **settings
    ) -> tuple[Float[Array, "b s"], Float[Array, "b h w"]]:
        """-log p of each token (0 of padding) and of each code."""
        text_logits, code_logits = self.network.apply({"params": params}, tokens, codes, **settings)
        text = optax.softmax_cross_entropy_with_integer_labels(text_logits, tokens)
        return jnp.where(tokens != 0, text, 0.0), optax.softmax_cross_entropy_with_integer_labels(code_logits, codes)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """-log p of each example's tokens and codes; see the module for the names and units."""
        codes, tokens = self.batch_codes(batch, weights.frozen), batch["tokens"]
        text, image = self._nats(weights.params["model"], tokens, codes)
        return {
            "text_nats_per_token": text.sum(1) / jnp.maximum((tokens != 0).sum(1), 1),
            "image_nats_per_token": image.mean((1, 2)),
            "image_nats": image.sum((1, 2)),
        }

    def sample_images(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Samples:
        """Draw codes, and decode them; conditions as for `sample_codes`."""
        codes = self.sample_codes(weights, conditions, index, key)
        return Samples(self.tokenizer.decode(weights.frozen["tokenizer"], (codes,)))

    def sample_codes(self, weights: Weights, conditions: Conditions, index: Index, key: Key) -> Int[Array, "b h w"]:
        """Draw the codes of an image for each text, as `SampleFn` draws images.

        Options are those of `OPTIONS`; `codes` and `codes_mask` complete images.

        Raises:
            ValueError: guidance of a model that was not trained for it.
        """
        conditions.check_guidance(self.text_dropout, "a model trained with config.model.text_dropout > 0")
        tokens, keys = conditions.tokens, rng.of_samples(key, index)
        if "guidance_scale" in conditions.options:
            tokens = jnp.concatenate([tokens, jnp.zeros_like(tokens)])
        variables = {"params": weights.params["model"]}
        cache = self.network.apply(variables, tokens, method="start")
        options: dict[str, Any] = {**conditions.options, "known": conditions.known_codes()}
        filters = {
            name: options.pop(name) for name in ("top_k", "top_p") if "guidance_scale" in options and name in options
        }

        def step(cache, code, position):
            logits, cache = self.network.apply(variables, cache, code, position, method="step")
            return (_filter_requested(logits, filters) if filters else logits), cache

        codes = decode(step, cache, math.prod(self.network.grid), keys, **options)
        return codes.reshape(-1, *self.network.grid)


@builder("dalle", Settings, tokenizer=Tokenizer)
def build(settings: Settings, spec: DataSpec, tokenizer: Tokenizer) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown fields, a tokenizer of other images or of several levels, or data without tokens.
    """
    model = make_model(settings, tokenizer, spec)
    interface = ImageSampler(model.sample_images, tokenizer.image_shape, 0, OPTIONS, text_length=spec.text_length)
    return one_player(model, interface._replace(optional=("codes", "codes_mask")), dalle.LOGICAL_AXES)


def make_model(settings: Settings, tokenizer: Tokenizer, spec: DataSpec) -> Model:
    """The network for a tokenizer's codes and the data's texts."""
    expect_tokens(spec, "dalle")
    codes_lib.expect_images(tokenizer, spec)
    if len(tokenizer.grids) != 1:
        raise ValueError(
            f"the family dalle draws one grid of codes, and the tokenizer has the levels {tokenizer.grids}; "
            "name the run of a vqvae or a dvae"
        )
    sizes = (spec.vocab_size, spec.text_length, tokenizer.num_codes, tuple(tokenizer.grids[0]))
    network = dalle.DalleTransformer(*sizes, dtype=settings.dtype, **settings.network)
    return Model(tokenizer, network, settings.text_weight, settings.text_dropout)


def _filter_requested(logits: Float[Array, "b2 k"], filters: Mapping[str, Array]) -> Float[Array, "b2 k"]:
    """Logits [l_c; l_u] with all codes ruled out that the filters cut from the first half, those for the text."""
    requested, nothing = jnp.split(logits, 2)
    return jnp.concatenate([jnp.maximum(masking.filter_logits(requested, **filters), RULED_OUT), nothing])
