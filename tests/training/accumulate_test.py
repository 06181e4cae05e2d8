"""Gradients of a batch in pieces are those of the batch: denominators of the whole, counted without the network."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.families.base import LossInputs, LossOutputs, Player
from genjax.families.terms import Term, mean_of, same
from genjax.training import accumulate
from genjax.training.step import Ema, make_train_step
from tests.training import toy

KEY = jax.random.key(0)
PARAMS = {"w": jnp.asarray([0.3, -0.7, 1.1])}
BATCH = {
    "x": jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32),
    "tokens": jnp.asarray([0, 1, 7, 0, 0, 2, 0, 5])[:, None] > jnp.arange(8),
}


def loss(params, inputs):
    """Two terms of unlike denominators, one of which is 0 in some pieces, and a penalty on the parameters."""
    seen = jnp.sin(inputs.batch["x"] @ params["w"])[:, None] * inputs.batch["tokens"]
    terms = {
        "text": Term(jnp.sum(seen**2), jnp.sum(inputs.batch["tokens"]), 0.25),
        "image": mean_of(jnp.cos(inputs.batch["x"] @ params["w"]), 0.75),
        "penalty": same(jnp.sum(params["w"] ** 2))._replace(weight=0.1),
    }
    return LossOutputs(terms, {"text": terms["text"], "count": mean_of(inputs.batch["x"])}, inputs.extra + 1)


def inputs(batch=None):
    return LossInputs({}, jnp.int32(0), {}, batch or BATCH, KEY, jnp.int32(0))


def test_the_loss_of_a_whole_batch_by_hand():
    x, tokens, w = (np.asarray(value, np.float64) for value in (BATCH["x"], BATCH["tokens"], PARAMS["w"]))
    text = (np.sin(x @ w) ** 2 * tokens.sum(1)).sum() / 15
    expected = 0.25 * text + 0.75 * np.cos(x @ w).mean() + 0.1 * (w**2).sum()
    found = accumulate.compute(Player("model", loss), PARAMS, inputs())
    np.testing.assert_allclose(found.loss, expected, rtol=1e-6)
    np.testing.assert_allclose(found.metrics["text"], text, rtol=1e-6)


@pytest.mark.parametrize("microbatches", [2, 4, 8])
def test_pieces_add_up_to_the_batch(microbatches):
    whole = accumulate.compute(Player("model", loss), PARAMS, inputs())
    pieces = accumulate.compute(Player("model", loss), PARAMS, inputs(), microbatches)
    chex.assert_trees_all_close(whole._replace(extra=0), pieces._replace(extra=0), rtol=1e-5, atol=1e-7)
    assert int(pieces.extra) == microbatches, "it passes from piece to piece"


def test_nothing_counted_is_nothing_learned():
    none = inputs({**BATCH, "tokens": jnp.zeros((8, 8), bool)})
    for microbatches in (1, 2):
        found = accumulate.compute(Player("model", loss), PARAMS, none, microbatches)
        assert found.metrics["text"] == 0 and jnp.isfinite(found.loss) and jnp.isfinite(found.grads["w"]).all()


def test_counting_needs_no_network():
    """The compiled program with counts that depend on the batch has as many products as one with fixed ones."""

    def products(counted):
        def loss(params, inputs):
            values = jnp.tanh(inputs.batch["x"] @ params) @ params
            seen = inputs.batch["x"] > 0 if counted else jnp.ones_like(inputs.batch["x"], bool)
            count = jnp.sum(seen) if counted else seen.size
            return LossOutputs({"loss": Term(jnp.sum(values**2 * seen), count)}, {}, ())

        given = LossInputs({}, (), {}, {"x": BATCH["x"]}, KEY, jnp.int32(0))
        run = jax.jit(lambda w: accumulate.compute(Player("model", loss), w, given, 2).grads)
        return run.lower(jnp.eye(3)).compile().as_text().count(" dot(")

    assert products(True) == products(False) > 0


def test_metrics_are_summarized_for_the_whole_batch():
    def loss(params, inputs):
        share = Term(jnp.sum(inputs.batch["x"] > 0, axis=0, dtype=jnp.float32), len(inputs.batch["x"]))
        return LossOutputs({"loss": same(jnp.sum(params["w"]))}, {"share": share}, ())

    def entropy(metrics):
        return {"entropy": -jnp.sum(metrics["share"] * jnp.log(metrics["share"]))}

    player = Player("model", loss, summarize=entropy)
    share = np.mean(np.asarray(BATCH["x"]) > 0, axis=0)
    for microbatches in (1, 4):
        found = accumulate.compute(player, PARAMS, inputs()._replace(extra=()), microbatches)
        np.testing.assert_allclose(found.metrics["entropy"], -(share * np.log(share)).sum(), rtol=1e-6)


def test_a_player_that_needs_its_batch_whole_is_refused():
    family = toy.family(("first", "second"))
    coupled = family.players[1]._replace(batch_coupled="it compares examples")
    family, optimizers = family._replace(players=(family.players[0], coupled)), {"first": optax.sgd(1.0)}
    with pytest.raises(ValueError, match="microbatches=3 .*'second'.*it compares examples; set it to 1"):
        make_train_step(family, optimizers, Ema(0.0), microbatches=3)
    accumulate.check(family, 1)
