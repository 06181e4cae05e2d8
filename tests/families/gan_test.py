"""GANs: who learns in which step, what the discriminator sees, penalties, batch statistics, samples by index."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import dcgan_celeba64, dcgan_digits, gan_digits, gan_mnist
from genjax.core.tree import count_params
from genjax.families import gan, registry
from genjax.families.interfaces import Conditions, ImageSampler, Weights
from genjax.training import optim, state, step
from genjax.typing import DataSpec
from tests.families import losses

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
CONFIGS = {"dcgan": dcgan_digits, "mlp": gan_digits}


def build(kind="dcgan", sampling=None, **model):
    config = CONFIGS[kind].get_config("tiny")
    if kind == "dcgan":
        config.model.generator.update(base=4, extra_layers=0)
        config.model.discriminator.update(base=4, extra_layers=0)
    config.model.r1.gamma = 0.0
    config.model.augment.policy = ""
    for name, value in model.items():
        config.model[name].update(value) if isinstance(value, dict) else config.model.update({name: value})
    config.sampling.update(sampling or {})
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), SPEC)


def batch(count=8):
    return {"image": jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)}


def noisy(tree, scale=0.1):
    """Parameters far from their start, so that every input matters."""
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + scale * noise.standard_normal(leaf.shape, np.float32), tree)


def play(family, player, params, extra, number=0, images=None, key=KEY):
    """(loss, metrics) of a player."""
    images = images or batch()
    found = losses.jitted(family, params, images, key, player=player, extra=extra, step=number)
    return float(found.value), {name: float(metric) for name, metric in found.metrics.items()}


def discriminate(family, params, extra, number=0, images=None):
    """(loss, metrics) of the discriminator."""
    return play(family, "discriminator", params, extra, number, images)


@pytest.fixture(scope="module")
def fresh():
    params, extra = jax.jit(build().init)(KEY, batch(1))
    return params, extra


@pytest.fixture(scope="module")
def weights(fresh):
    return Weights(noisy(fresh[0]), fresh[1], {})


@pytest.fixture(scope="module")
def trainer():
    """A compiled step of a family whose generator moves on every second, and the states after 0, 1, 2 steps."""
    family = build(discriminator_steps=2, r1={"gamma": 1.0, "interval": 2}, augment={"policy": "color,cutout"})
    settings = dcgan_digits.get_config("tiny").optimizer.to_dict()
    optimizers = optim.make_optimizers(settings, family, 10)
    update = jax.jit(step.make_train_step(family, optimizers, step.Ema(0.9)))
    states = [jax.jit(state.make_init(family, optimizers, keep_ema=True))(KEY, batch(1))]
    metrics = []
    for _ in range(2):
        after, values = update(states[-1], batch(), (), KEY)
        states.append(after)
        metrics.append(values)
    return update, jax.device_get(states), jax.device_get(metrics)


def moved(before, after):
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))


def test_each_player_moves_its_own_parameters_in_its_own_steps(trainer):
    _, (first, second, third), metrics = trainer
    assert moved(first.params["discriminator"], second.params["discriminator"])
    assert moved(first.params["generator"], second.params["generator"]) and moved(first.extra, second.extra)
    assert moved(second.params["discriminator"], third.params["discriminator"])
    assert not moved(second.params["generator"], third.params["generator"]), "the generator rests"
    assert not moved(second.extra, third.extra), "its statistics are moved by itself alone"
    assert not moved(second.opt_state["generator"], third.opt_state["generator"])
    assert np.isnan(metrics[1]["generator/loss"]) and metrics[1]["finite"] == 1


def test_the_generators_step_leaves_the_discriminator(fresh):
    family = build()
    family = family._replace(players=family.players[1:])
    optimizers = optim.make_optimizers(dcgan_digits.get_config("tiny").optimizer.to_dict(), family, 10)
    params, extra = fresh
    before = state.TrainState(
        jnp.int32(0), params, {"generator": optimizers["generator"].init(params["generator"])}, {}, extra
    )
    after, _ = jax.jit(step.make_train_step(family, optimizers, step.Ema(0.0)))(before, batch(), (), KEY)
    assert not moved(before.params["discriminator"], after.params["discriminator"])
    assert moved(before.params["generator"], after.params["generator"])


def test_a_step_from_a_stored_state_is_the_same_bit_for_bit(trainer):
    update, states, metrics = trainer
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(states[1]))
    again, values = update(jax.tree.map(jnp.asarray, states[1]), batch(), (), KEY)
    assert not moved(states[2], jax.device_get(again))
    np.testing.assert_array_equal(values["discriminator/loss"], metrics[1]["discriminator/loss"])


@pytest.mark.parametrize("kind", ["dcgan", "mlp"])
def test_equilibrium(kind):
    """A discriminator that can't tell has the loss 2 log 2, and the generator log 2."""
    family = build(kind)
    params, extra = jax.jit(family.init)(KEY, batch(1))
    params["discriminator"] = {
        **params["discriminator"],
        "logit": jax.tree.map(jnp.zeros_like, params["discriminator"]["logit"]),
    }
    value, metrics = discriminate(family, params, extra)
    assert value == pytest.approx(2 * np.log(2), rel=1e-5)
    assert metrics["accuracy_real"] + metrics["accuracy_fake"] == 1.0 and metrics["penalty"] == 0.0
    value, _ = play(family, "generator", params, extra)
    assert value == pytest.approx(np.log(2), rel=1e-5)


def test_augmentation_acts_on_both_in_both_losses(weights):
    """With all pixels cut out, real and generated images look the same, and no gradient reaches the generator."""
    family = build(augment={"policy": "cutout", "cutout": 4.0, "fill": 0.3})
    _, metrics = discriminate(family, weights.params, weights.extra)
    assert metrics["real_logits"] == pytest.approx(metrics["fake_logits"], rel=1e-5)
    plain = discriminate(build(), weights.params, weights.extra)[1]
    assert abs(plain["real_logits"] - plain["fake_logits"]) > 1e-3

    gradient = losses.gradient(family, weights.params, batch(), KEY, player="generator", extra=weights.extra)
    assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) == 0.0


def test_r1_on_every_third_step_is_three_times_as_strong(weights):
    each = build(r1={"gamma": 0.5, "interval": 1})
    lazy = build(r1={"gamma": 0.5, "interval": 3})
    _, metrics = discriminate(each, weights.params, weights.extra, 1)
    loss, resting = discriminate(lazy, weights.params, weights.extra, 1)
    _, due = discriminate(lazy, weights.params, weights.extra, 3)
    assert metrics["penalty"] > 0 and resting["penalty"] == 0.0
    assert due["penalty"] == pytest.approx(3 * metrics["penalty"], rel=1e-5)
    assert loss == pytest.approx(discriminate(build(), weights.params, weights.extra, 1)[0], rel=1e-5)


def test_wasserstein_with_gradient_penalty(fresh):
    """The penalty of a critic whose logits are all zero is its weight, (|0| - 1)^2 times 10."""
    family = build(loss="wasserstein", gradient_penalty=10.0, discriminator_steps=5, discriminator={"norm": "layer"})
    assert [player.every for player in family.players] == [1, 5]
    params, extra = jax.jit(family.init)(KEY, batch(1))
    silent = {**params["discriminator"], "logit": jax.tree.map(jnp.zeros_like, params["discriminator"]["logit"])}
    value, metrics = discriminate(family, {**params, "discriminator": silent}, extra)
    assert value == pytest.approx(10.0) == metrics["penalty"]
    moved = {**params, "discriminator": noisy(params["discriminator"])}
    slope = losses.gradient(family, moved, batch(), KEY, player="discriminator", extra=extra)
    assert all(jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slope))


def test_dropout_is_drawn_in_training_only():
    family = build("mlp", discriminator={"dropout": 0.5})
    params, extra = jax.jit(family.init)(KEY, batch(1))
    params = noisy(params)
    keys = [jax.random.key(seed) for seed in (0, 1)]
    logits = [play(family, "discriminator", params, extra, key=key)[1]["real_logits"] for key in keys]
    assert logits[0] != logits[1]
    evaluate = jax.jit(family.evaluate)
    values = [evaluate(Weights(params, extra, {}), batch(), key)["real_logits"] for key in keys]
    np.testing.assert_array_equal(*values)


def test_samples_do_not_depend_on_their_batch(weights):
    family = build()
    draw = jax.jit(family.interface.sample)
    together = draw(weights, Conditions(), jnp.arange(6), KEY).images
    among_others = draw(weights, Conditions(), jnp.array([4, 9, 30, 7, 11, 23]), KEY).images
    np.testing.assert_allclose(together[4:5], among_others[:1], atol=1e-5)
    assert together.shape == (6, 8, 8, 1) and jnp.abs(together[4] - together[5]).max() > 1e-2
    assert isinstance(family.interface, ImageSampler) and family.interface.num_classes == 0


def test_standing_statistics_are_those_of_the_weights_at_hand(weights):
    """A batch drawn with them looks as if normalised by itself; with running averages of other weights it does not."""

    def batch_drawn_with_them(model):
        stats = model.standing_statistics(weights, KEY)
        z = jax.random.normal(jax.random.key(5), (256, model.settings.latent_dim))
        variables = {"params": weights.params["generator"], "batch_stats": stats}
        own, _ = model.generator.apply(variables, z, train=True, mutable=["batch_stats"])
        return model.generator.apply(variables, z), own

    drawn = {}
    for passes in (0, 8):
        model = build(sampling={"standing_passes": passes, "standing_batch": 64}).interface.sample.__self__
        drawn[passes], own = jax.jit(lambda model=model: batch_drawn_with_them(model))()
    assert jnp.abs(drawn[8] - own).mean() < 0.03
    assert jnp.abs(drawn[0] - own).mean() > 0.1
    assert not moved(
        model._replace(sampling=gan.Sampling(standing_passes=0)).standing_statistics(weights, KEY), weights.extra
    )


def test_evaluation_sees_overfitting_and_collapse(weights):
    family = build()
    evaluate = jax.jit(family.evaluate)
    values = evaluate(weights, batch(16), KEY)
    names = {"accuracy_real", "accuracy_fake", "real_logits", "fake_logits", "mode_coverage"}
    assert set(values) == names and all(value.shape == (16,) for value in values.values())
    real = jnp.concatenate([-jnp.ones((14, 8, 8, 1)), jnp.ones((2, 8, 8, 1))])
    blank = jax.tree.map(jnp.zeros_like, weights.params["generator"])  # tanh(0): grey, far from both
    collapsed = evaluate(weights._replace(params={**weights.params, "generator": blank}), {"image": real}, KEY)
    np.testing.assert_array_equal(collapsed["mode_coverage"][:14], 0.0)


@pytest.mark.parametrize(("kind", "limit"), [("normal", 2.0), ("uniform", 1.0)])
def test_noise(kind, limit):
    z = gan.NOISES[kind](KEY, (500, 4))
    np.testing.assert_allclose([z.mean(), z.std()], [0.0, 1.0 if kind == "normal" else 3**-0.5], atol=0.06)
    assert (jnp.abs(z).max() > limit) == (kind == "normal")


def test_published_settings():
    for config, counts in ((gan_mnist, (2_503_984, 1_231_441)), (dcgan_celeba64, (12_658_432, 11_036_160))):
        config = config.get_config()
        size, channels = config.data.image_size, config.data.channels
        family = registry.build(
            config.family, config.model.to_dict(), config.sampling.to_dict(), DataSpec((size, size, channels))
        )
        params, _ = jax.eval_shape(family.init, KEY, {"image": jnp.zeros((1, size, size, channels))})
        assert (count_params(params["generator"]), count_params(params["discriminator"])) == counts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "relativistic"}, "unknown adversarial loss 'relativistic'"),
        ({"noise": "cauchy"}, "unknown noise 'cauchy'.*normal"),
        ({"discriminator_steps": 0}, "config.model.discriminator_steps=0 must be at least 1"),
        ({"generator": {"name": "stylegan"}}, "unknown generator 'stylegan'.*dcgan"),
        ({"discriminator": {"name": "patch"}}, "unknown discriminator 'patch'"),
        ({"r1": {"gamma": 1.0}, "discriminator": {"norm": "batch"}}, "batch norm mixes them.*'layer'"),
        ({"gradient_penalty": 10.0, "discriminator": {"norm": "batch"}}, "batch norm mixes them"),
        ({"colour": "red"}, r"gan family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
