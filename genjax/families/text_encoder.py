"""A frozen language model as a stage: T5 or a BERT-style encoder that reads captions for others (Imagen, 2205.11487).

It has parameters and no players, so nothing of it is ever trained: its weights come from a public checkpoint, by
`config.init_from` (`minilm:`, `t5:/path`) in a run of no steps, which `launch/convert.py` makes too. Later stages see a
`TextEncoder`:

    states_i = network(tokens)_i at tokens, 0 at padding;      pooled = mean_i states_i, of length 1 if `unit_pooled`

so that the null text, which is all padding, has no states, and zeros as its pooled vector. Deviation: a language model
proper would read its start and end there.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.families.base import Family
from genjax.families.interfaces import TextEncoder, TextFeatures, Weights
from genjax.families.settings import expect_tokens, make_named
from genjax.families.shared.assembly import builder
from genjax.losses import contrastive
from genjax.nn import bert, t5
from genjax.typing import Array, Batch, DataSpec, Float, Key, Params, Tokens

NETWORKS = {"bert": bert.BertEncoder, "t5": t5.T5Encoder}


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: "name", one of `NETWORKS`, and fields of its module.
        unit_pooled: whether pooled vectors have length 1.
        dtype: of the network's computation.
    """

    network: Mapping[str, Any]
    unit_pooled: bool = False
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    network: Any
    unit_pooled: bool
    length: int

    def init(self, key: Key, batch: Batch) -> tuple[dict[str, Params], tuple]:
        """Random parameters, those of a language model that knows nothing; and no other state."""
        tokens = jnp.ones((1, self.length), jnp.int32)
        return {"model": self.network.init(key, tokens)["params"]}, ()

    def encode(self, weights: Weights, tokens: Tokens) -> TextFeatures:
        """What the network makes of texts, in float32; see the module."""
        mask = tokens != 0
        states = self.network.apply({"params": weights.params["model"]}, tokens, mask).astype(jnp.float32)
        states = jnp.where(mask[..., None], states, 0.0)
        return TextFeatures(states, mask, pool(states, mask.sum(axis=1), self.unit_pooled))


@builder("text_encoder", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, texts that aren't tokenized, or tokens that the network doesn't know.
    """
    expect_tokens(spec, "text_encoder")
    network = make_named("network", NETWORKS, settings.network, "config.model.network", dtype=settings.dtype)
    model = Model(network, settings.unit_pooled, spec.text_length)
    if spec.vocab_size > model.network.vocab_size:
        raise ValueError(
            f"config.data.tokenizer has {spec.vocab_size} tokens, and config.model.network.vocab_size is "
            f"{model.network.vocab_size}; a checkpoint has to be read with the vocabulary that it was trained with"
        )
    width = model.network.width
    return Family(
        init=model.init,
        players=(),
        evaluate=_measures_nothing,
        interface=TextEncoder(model.encode, model.length, model.network.vocab_size, width, width),
        logical_axes=(*t5.LOGICAL_AXES, *bert.LOGICAL_AXES),
    )


def pool(states: Float[Array, "b s d"], count: Array, unit: bool) -> Float[Array, "b d"]:
    """The mean of the states of `count` [b] tokens, of length 1 where requested; zeros of no tokens."""
    pooled = states.sum(axis=1) / jnp.maximum(count, 1)[:, None]
    return contrastive.normalize(pooled) if unit else pooled


def _measures_nothing(weights: Weights, batch: Batch, key: Key) -> dict[str, Array]:
    """No metrics: nothing is trained, so that there is nothing to follow."""
    return {}
