"""BEiT over a stub of a tokenizer: what its loss counts, what it is shown, features, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate
from genjax.configs import beit_base, beit_shapes
from genjax.configs.recipes import common
from genjax.core.tree import count_params
from genjax.families import registry
from genjax.families.interfaces import FeatureExtractor, Tokenizer, Weights
from genjax.training import optim
from genjax.training import state as state_lib
from genjax.training.step import Ema, make_train_step
from genjax.typing import DataSpec
from tests.families import losses, perturbed

SPEC = DataSpec((8, 8, 1))
KEY = jax.random.key(0)
NUM_CODES = 5


def encode(weights, images):
    """The code of 2x2 pixels: their mean in fifths."""
    b, h, w, _ = images.shape
    means = images.reshape(b, h // 2, 2, w // 2, 2, -1).mean((2, 4, 5))
    return (jnp.clip((means + 1) / 2 * NUM_CODES, 0, NUM_CODES - 1).astype(jnp.int32),)


def decode(weights, codes):
    grey = ((codes[0] + 0.5) / NUM_CODES * 2 - 1)[..., None]
    return jnp.repeat(jnp.repeat(grey, 2, 1), 2, 2)


def tokenizer(size=8, grid=4, channels=1, num_codes=NUM_CODES, levels=1):
    return Tokenizer(encode, decode, num_codes, ((grid, grid),) * levels, (size, size, channels))


FROZEN = {"tokenizer": Weights({}, (), {})}


def build(parent=None, spec=SPEC, **model):
    config = beit_base.get_config("tiny")
    config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), {}, spec, {"tokenizer": parent or tokenizer()})


def batch(count=8):
    return {"image": jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def fresh(family):
    return jax.jit(family.init)(KEY, batch(1))[0]


@pytest.fixture(scope="module")
def weights(fresh):
    noise = np.random.default_rng(0)
    noisy = jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape, np.float32), fresh)
    return Weights(noisy, (), FROZEN)


def test_untrained_loss_is_log_k(family, fresh):
    found = losses.jitted(family, fresh, batch(64), KEY, frozen=FROZEN)
    assert found.value == pytest.approx(np.log(NUM_CODES), abs=0.05)
    assert 0.2 < found.metrics["masked"] <= 6 / 16 and found.extra == ()


@pytest.mark.slow
def test_it_learns_what_is_hidden_from_what_is_seen():
    """Images of one grey each: what is hidden is what is seen."""
    small = {"width": 32, "drop_path": 0.0, "layer_scale": 1.0, "init_std": 0.18}
    family = build(network={**beit_base.get_config("tiny").model.network.to_dict(), **small})
    grey = jnp.linspace(-0.9, 0.9, 10)[:, None, None, None] * jnp.ones((1, 8, 8, 1))

    optimizers = optim.make_optimizers({"model": common.adam(3e-3).to_dict()}, family, 150)
    step = make_train_step(family, optimizers, Ema(0.0))

    @jax.jit
    def train(key):
        state = state_lib.make_init(family, optimizers, keep_ema=False)(key, {"image": grey})
        return jax.lax.scan(lambda state, _: step(state, {"image": grey}, FROZEN, key), state, length=150)

    state, metrics = train(KEY)
    assert metrics["model/loss"][-10:].mean() < 0.3 * np.log(NUM_CODES)
    held_out = jax.jit(family.evaluate)(Weights(state.params, (), FROZEN), {"image": grey}, KEY)
    assert held_out["accuracy"].shape == (10,) and held_out["accuracy"].mean() > 0.7


def test_evaluation_is_of_each_example(family, weights):
    values = jax.jit(family.evaluate)(weights, batch(), KEY)
    assert set(values) == {"loss", "accuracy"} and all(value.shape == (8,) for value in values.values())
    assert (values["loss"] > 0).all() and values["accuracy"].max() <= 1


def test_reconstruction_keeps_the_codes_that_are_seen(family, weights):
    images = batch()["image"]
    seen = decode(None, encode(None, images))
    made = jax.jit(family.reconstruct)(weights, images, KEY)
    share = jnp.mean(made == seen, axis=(1, 2, 3))
    assert made.shape == images.shape and (share >= 1 - 6 / 16).all() and share.mean() < 1


def test_features_do_not_depend_on_the_batch_and_may_be_of_fewer_blocks(family, weights):
    assert isinstance(family.interface, FeatureExtractor) and family.interface.dim == 16
    features = jax.jit(family.interface.features)
    together = features(weights, batch()["image"])
    among_others = jnp.roll(batch()["image"], -2, axis=0).at[1:].multiply(-1)
    np.testing.assert_allclose(together[2:3], features(weights, among_others)[:1], atol=1e-5)
    assert together.shape == (8, 16)
    last = jax.jit(build(feature_depth=0).interface.features)(weights, batch()["image"])
    assert jnp.abs(last - together).max() > 1e-3


def test_the_tokenizer_may_see_smaller_images():
    """8 pixels in patches of 4: the tokenizer sees 4 pixels, for 2x2 codes."""
    network = {**beit_base.get_config("tiny").model.network.to_dict(), "patch_size": 4}
    settings = {"network": network, "masking": {"num_masked": 2, "min_block": 1}, "tokenizer_size": 4}
    family = build(**settings)
    made = jax.jit(family.reconstruct)(perturbed.noise(family, batch(1), frozen=FROZEN), batch()["image"], KEY)
    assert made.shape == (8, 8, 8, 1) and jnp.isfinite(made).all()


def test_the_papers_network_and_tokenizer():
    config = beit_base.get_config()
    spec, parent = DataSpec((224, 224, 3)), tokenizer(256, 32, 3, num_codes=8192)
    family = registry.build(config.family, config.model.to_dict(), {}, spec, {"tokenizer": parent})
    params = jax.eval_shape(family.init, KEY, {"image": jnp.zeros((1, 224, 224, 3))})[0]
    assert count_params(params) == 91_965_776
    assert config.training.num_steps == 500_455 and config.optimizer.model.warmup_steps == 6_255


def test_the_config_of_drawn_scenes_fits_their_tokenizer():
    for variant in ("", "tiny"):
        config = beit_shapes.get_config(variant)
        parents = {"tokenizer": tokenizer(32, 8, 3, num_codes=256)}
        registry.build(config.family, config.model.to_dict(), {}, DataSpec((32, 32, 3)), parents)


def test_it_draws_no_images(family, weights):
    with pytest.raises(ValueError, match="draws no images.*features"):
        generate.require_sampler(family.interface, "beit")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parent": tokenizer(grid=2)}, "8x8 have 2x2 codes by this tokenizer and 4x4 patches"),
        ({"tokenizer_size": 4}, "4x4 have 2x2 codes by this tokenizer and 4x4 patches"),
        ({"parent": tokenizer(levels=2)}, "2 levels of codes"),
        ({"parent": tokenizer(channels=3)}, "images with 3 channels"),
        ({"parent": FeatureExtractor(None, (8, 8, 1), 3)}, "has to be the run of a Tokenizer"),
        ({"masking": {"num_masked": 16}}, "num_masked=16 of 4x4 patches"),
        ({"masking": {"colour": 1}}, "masking of the beit family: unknown"),
        ({"feature_depth": 3}, "feature_depth=3 of a network with 2 blocks"),
        ({"colour": "red"}, r"beit family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_a_tokenizer_has_to_be_named():
    config = beit_base.get_config("tiny")
    with pytest.raises(ValueError, match="needs a Tokenizer.*stages.tokenizer.workdir"):
        registry.build(config.family, config.model.to_dict(), {}, SPEC)
