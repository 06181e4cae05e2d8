"""BigGAN's family: who trains what, truncation, standing statistics, and what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.configs import biggan_cifar10, biggan_digits, biggan_imagenet128
from genjax.core.tree import count_params
from genjax.families import biggan, registry
from genjax.families.interfaces import Conditions, ImageSampler, Weights
from genjax.training.optim import make_optimizers
from genjax.training.state import make_init
from genjax.training.step import Ema, make_train_step
from genjax.typing import DataSpec

SPEC = DataSpec((8, 8, 3), num_classes=10)
KEY = jax.random.key(0)
CONFIG = biggan_digits.get_config("tiny")


def build(spec=SPEC, sampling=(), **model):
    config = biggan_digits.get_config("tiny")
    config.model.discriminator.channel_mult = (1,)
    return registry.build(
        config.family, config.model.to_dict() | model, config.sampling.to_dict() | dict(sampling), spec
    )


def batch(count=8):
    image = jax.random.uniform(jax.random.key(5), (count, 8, 8, 3), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count) % 10}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def fresh(family):
    return jax.jit(family.init)(KEY, batch(1))


@pytest.fixture(scope="module")
def sample(family):
    return jax.jit(lambda *inputs: family.interface.sample(*inputs).images)


def changed(a, b):
    """Share of the arrays that differ, numbers apart."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return np.mean([bool((x != y).any()) for x, y in pairs if x.size > 1])


def trained(family, count, players=slice(None)):
    """The state at the start and after each of some steps of the players, and the metrics of each."""
    optimizers = make_optimizers(CONFIG.optimizer.to_dict(), family, count)
    state = jax.jit(make_init(family, optimizers, keep_ema=False))(KEY, batch())
    step = jax.jit(make_train_step(family._replace(players=family.players[players]), optimizers, Ema(0.0)))
    states, metrics = [state], []
    for _ in range(count):
        state, values = step(state, batch(), {}, KEY)
        states.append(state)
        metrics.append(values)
    return states, metrics


@pytest.fixture(scope="module")
def steps():
    """Three steps of two players, one of which rests at every second; both penalties, and a loss without margins."""
    return trained(build(discriminator_steps=2, orthogonal=0.5, r1=3.0, loss="wasserstein"), 3)


def test_each_player_moves_its_own_parameters_and_both_states(steps):
    states, metrics = steps
    for step, (before, after) in enumerate(zip(states[:-1], states[1:])):
        assert changed(before.params["discriminator"], after.params["discriminator"]) > 0.9
        moved = changed(before.params["generator"], after.params["generator"])
        assert moved > 0.9 if step % 2 == 0 else moved == 0, "the generator rests at every second step"
        assert bool(jnp.isnan(metrics[step]["generator/loss"])) == (step % 2 == 1)
        assert metrics[step]["finite"] == 1
        for name in ("generator", "discriminator"):
            assert changed(before.extra[name]["spectral"], after.extra[name]["spectral"]) > 0.8, name
        assert changed(before.extra["generator"]["batch_stats"], after.extra["generator"]["batch_stats"]) > 0.9


@pytest.mark.slow
def test_generators_step_leaves_the_discriminator(family):
    (before, after), _ = trained(family, 1, slice(1, 2))
    same = jax.tree.map(np.testing.assert_array_equal, before.params["discriminator"], after.params["discriminator"])
    assert same and changed(before.params["generator"], after.params["generator"]) > 0.9
    before, after = (state.extra["discriminator"] for state in (before, after))
    assert changed(before, after) > 0.8, "but its pass renews the spectral vectors"


def test_latents_are_normal_or_truncated_and_move_with_the_threshold():
    shape = (20_000,)
    np.testing.assert_array_equal(biggan.latents(KEY, shape), jax.random.normal(KEY, shape))
    np.testing.assert_array_equal(biggan.latents(KEY, shape, 0.0), biggan.latents(KEY, shape))
    for threshold in (0.3, 1.5):
        z = np.asarray(biggan.latents(KEY, shape, jnp.float32(threshold)), np.float64)
        assert np.abs(z).max() <= threshold
        law = scipy.stats.truncnorm(-threshold, threshold)
        assert scipy.stats.kstest(z, law.cdf).pvalue > 0.01
    close = biggan.latents(KEY, shape, 1.5), biggan.latents(KEY, shape, 1.51)
    assert float(jnp.abs(close[0] - close[1]).max()) < 0.02


def test_images_depend_on_index_label_and_truncation_alone(fresh, sample):
    weights = Weights(*fresh, {})
    index, label = jnp.array([7, 3, 900, 4]), jnp.array([1, 2, 3, 4])

    def draw(index, label, truncation=1.5):
        return sample(weights, Conditions(label=label, options={"truncation": jnp.float32(truncation)}), index, KEY)

    images = draw(index, label)
    assert images.shape == (4, 8, 8, 3) and float(jnp.abs(images).max()) <= 1
    among_others = draw(jnp.array([900, 12, 5, 31]), jnp.array([3, 0, 1, 9]))
    np.testing.assert_allclose(images[2:3], among_others[:1], atol=1e-5)
    for other in (draw(index + 1, label), draw(index, label + 1), draw(index, label, 1.0)):
        assert float(jnp.abs(other - images).max((1, 2, 3)).min()) > 1e-4


def test_standing_statistics_are_of_these_weights(fresh, sample):
    """They don't depend on the stored statistics, are those of many passes, and settle the spectral norms."""
    params, extra = fresh
    conditions = (Conditions(label=jnp.arange(4)), jnp.arange(4))
    stale = jax.tree.map(lambda leaf: 3.0 + 2.0 * leaf, extra["generator"]["batch_stats"])
    other = {**extra, "generator": {**extra["generator"], "batch_stats": stale}}
    images = [sample(Weights(params, state, {}), *conditions, KEY) for state in (extra, other)]
    np.testing.assert_allclose(*images, atol=1e-4)
    running = build(sampling={"standing_passes": 0})
    draw = jax.jit(running.interface.sample)
    images = [draw(Weights(params, state, {}), *conditions, KEY).images for state in (extra, other)]
    assert float(jnp.abs(images[0] - images[1]).max()) > 1e-3, "without passes, the stored ones are used"


def test_evaluation_tells_of_each_example(family, fresh):
    values = jax.jit(family.evaluate)(Weights(*fresh, {}), batch(16), KEY)
    assert set(values) == {"accuracy_real", "accuracy_fake", "real_logits", "fake_logits", "mode_coverage"}
    assert all(value.shape == (16,) for value in values.values())
    np.testing.assert_array_equal(values["accuracy_real"], values["real_logits"] > 0)


def test_interface_and_published_configs(family):
    assert isinstance(family.interface, ImageSampler) and family.interface.num_classes == 10
    assert family.interface.options == {"truncation": 0.0}
    for module, size, classes, published in (
        (biggan_imagenet128, 128, 1000, (70_433_988, 87_982_370)),
        (biggan_cifar10, 32, 10, (4_304_387, 4_207_361)),
    ):
        for variant, spec in (("", DataSpec((size, size, 3), classes)), ("tiny", SPEC)):
            config = module.get_config(variant)
            made = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)
            example = {"image": jnp.zeros((1, *spec.image_shape)), "label": jnp.zeros((1,), jnp.int32)}
            params, _ = jax.eval_shape(made.init, KEY, example)
            counts = tuple(count_params(params[name]) for name in ("generator", "discriminator"))
            assert counts == published if not variant else sum(counts) < 50_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": DataSpec((8, 8, 3))}, "needs data with class labels"),
        ({"spec": DataSpec((16, 16, 3), 10)}, "draws images of 8x8: .* the data's are 16x16"),
        ({"discriminator_steps": 0}, "discriminator_steps=0 must be at least 1"),
        ({"loss": "perceptron"}, "unknown adversarial loss 'perceptron'"),
        ({"colour": "red"}, r"biggan family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
