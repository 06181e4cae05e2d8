"""Training of a diffusion model from its settings: the loss by hand, and what the network sees and what not."""

import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion.time_samplers import LossHistory
from genjax.families import registry
from genjax.families.interfaces import Weights
from tests.diffusion.loss_test import published_vb
from tests.families import losses
from tests.families.recorder import (
    ALPHA,
    BETAS,
    CHANNELS,
    CLASSES,
    GAIN,
    PARAMS,
    SHAPE,
    SIGMA,
    SPEC,
    STEPS,
    Recorder,
    answer,
    batch,
    each,
    keys_equal,
    model,
    normal,
    sampling,
    stream,
    uniform,
    v_estimate,
)
from tests.families.recorder import nets as nets

KEY = jax.random.key(8)
LARGE = (20, 30, CHANNELS)


def build(spec=SPEC, draw=(), **changes):
    return registry.build("diffusion", model(**changes), sampling(**dict(draw)), spec)


def times(count):
    """The steps that a batch is drawn at."""
    return np.floor(uniform(stream(KEY, "time"), count) * STEPS).astype(int)


def noisy(x0, t):
    return each(ALPHA[t], x0) * x0 + each(SIGMA[t], x0) * normal(stream(KEY, "noise"), x0)


def errors(call, x0, t):
    """The weighted error of each example's estimate, by the network's answer to a call."""
    guess = v_estimate(np.float64(call.x[..., :CHANNELS]), np.float64(answer(call))[..., :CHANNELS], t)
    return np.minimum((ALPHA[t] / SIGMA[t]) ** 2, 2.0) * np.square(guess - x0).mean(axis=(1, 2, 3))


def test_the_loss_is_the_weighted_error_of_the_estimate_at_the_times_and_noise_of_its_streams(nets):
    family, examples = build(conditional=True, label_dropout=0.4), batch(8)
    found = losses.jitted(family, PARAMS, examples, KEY)
    call, x0, t = nets.call(), np.float64(examples["image"]), times(8)
    np.testing.assert_allclose(call.x, noisy(x0, t), atol=1e-5)
    np.testing.assert_allclose(call.c_noise, 3.0 * t, rtol=1e-6)
    dropped = uniform(stream(KEY, "label"), 8) < 0.4
    assert 0 < dropped.sum() < 8
    np.testing.assert_array_equal(call.label, np.where(dropped, CLASSES, examples["label"]))
    assert call.train and keys_equal(call.rngs["dropout"], stream(KEY, "dropout"))
    np.testing.assert_allclose(found.value, errors(call, x0, t).mean(), rtol=1e-4)
    assert found.metrics == {} and found.extra == ()


@pytest.mark.parametrize("changes", [{}, {"learned_variance": True}, {"objective": "variational"}], ids=str)
def test_at_most_three_frames_lie_between_the_loss_and_the_network(nets, monkeypatch, changes):
    """Of genjax's own functions: the objective, its call of the network, and the network bound to its conditioning."""
    found = []

    def apply(self, variables, x, *inputs, **settings):
        found.append([frame.name for frame in traceback.extract_stack() if "/genjax/" in frame.filename])
        return jnp.zeros((*x.shape[:-1], self.fields["out_channels"]))

    monkeypatch.setattr(Recorder, "apply", apply)
    family = build(conditional=True, **changes)
    jax.eval_shape(lambda examples: losses.compute(family, PARAMS, examples, KEY).value, batch(8))
    ((*_, loss, objective, call, net),) = found
    assert (loss, call, net) == ("loss_fn", "apply_net", "net") and objective.endswith("_loss")


def test_labels_reach_the_network_or_the_null_class_in_their_place(nets):
    examples = batch(2000)
    for changes, wanted in (
        ({"conditional": True}, examples["label"]),
        ({"conditional": True, "label_dropout": 1.0}, np.full(2000, CLASSES)),
        ({"conditional": False}, None),
    ):
        losses.jitted(build(**changes), PARAMS, examples, KEY)
        np.testing.assert_array_equal(nets.call().label, wanted)
    family = build(conditional=True, label_dropout=0.3)
    losses.jitted(family, PARAMS, examples, KEY)
    label = nets.call().label
    assert (label == CLASSES).mean() == pytest.approx(0.3, abs=0.04)
    kept = label != CLASSES
    np.testing.assert_array_equal(label[kept], examples["label"][kept])


def test_the_network_is_built_for_what_it_will_be_told(nets):
    build(conditional=True, label_dropout=0.1, learned_variance=True, dtype="bfloat16")
    wanted = {"out_channels": 2 * CHANNELS, "num_classes": CLASSES, "null_class": True, "dtype": "bfloat16", "width": 8}
    assert nets.last.fields == wanted
    build(low_res={"size": 2, "max_aug_level": 0.5, "crop_fraction": 0.5})
    plain = {"out_channels": CHANNELS, "num_classes": 0, "null_class": False, "dtype": "float32", "width": 8}
    assert nets.last.fields == plain | {"aug_embed": True, "image_size": 4}
    build(low_res={"size": 2})
    assert nets.last.fields == plain
    build(conditional=True)
    assert nets.last.fields == plain | {"num_classes": CLASSES}


def test_it_starts_from_inputs_of_the_shapes_that_it_is_trained_on(nets):
    """Whatever is told of an example is there at the start, or its parameters would be missing."""
    given = {
        "conditional": True,
        "label_dropout": 0.5,
        "low_res": {"size": 2, "max_aug_level": 0.5},
        "inpaint": {"everything": 0.5},
    }
    family = build(time_sampler={"name": "loss_aware", "history_per_step": 2}, **given)
    params, extra = family.init(KEY, batch(8))
    assert params == PARAMS and extra.losses.shape == (STEPS, 2)
    losses.jitted(family, PARAMS, batch(8), KEY, extra=extra)
    call, (x, c_noise, label, aug_level, told) = nets.call(), nets.last.started[0]
    for one, other in ((x, call.x), (c_noise, call.c_noise), (label, call.label), (aug_level, call.aug_level)):
        assert one.shape[1:] == other.shape[1:] and one.dtype.kind == other.dtype.kind
    assert told is None


def test_importance_weights_meet_the_loss_and_the_history_keeps_losses_without_them(nets):
    family = build(
        time_sampler={"name": "loss_aware", "history_per_step": 2, "uniform_prob": 0.1},
        parameterization={"name": "x0"},
        weighting={"name": "x0"},
    )
    rms = np.linspace(0.5, 5.0, STEPS)
    seen = 7 + np.arange(STEPS) % 2
    warm = LossHistory(jnp.asarray(np.stack([rms, rms], axis=1), jnp.float32), jnp.asarray(seen, jnp.int32))
    found = losses.jitted(family, PARAMS, batch(8), KEY, extra=warm)
    call = nets.call()
    probs = 0.9 * rms / rms.sum() + 0.1 / STEPS
    t = np.asarray(jax.random.categorical(stream(KEY, "time"), jnp.log(jnp.asarray(probs)), shape=(8,)))
    assert len(set(t)) == 8
    np.testing.assert_array_equal(call.c_noise, t)
    each_loss = np.square(np.float64(answer(call)) - batch(8)["image"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.value, (each_loss / (STEPS * probs[t])).mean(), rtol=1e-4)
    wanted = np.array(warm.losses)
    wanted[t, seen[t] % 2] = each_loss
    np.testing.assert_allclose(found.extra.losses, wanted, rtol=1e-4)
    np.testing.assert_array_equal(found.extra.counts, seen + np.isin(np.arange(STEPS), t))


def bound_terms(call, x0, t, variance=None):
    """The bound's term of each example; `variance` is "small" or "large", None for the network's own."""
    out = np.float64(answer(call, 2 * CHANNELS))
    guess = v_estimate(np.float64(call.x), out[..., :CHANNELS], t)
    fractions = out[..., CHANNELS:]
    if variance:
        fractions = np.broadcast_to(each(np.where(t > 0, {"small": -1, "large": 1}[variance], -1), x0), x0.shape)
    return np.array([published_vb(*one, betas=BETAS) for one in zip(x0, np.float64(call.x), t, guess, fractions)])


def test_a_learned_variance_adds_so_much_of_the_bound(nets):
    family, examples = build(learned_variance=True, vb_weight=0.25), batch(8)
    found = losses.jitted(family, PARAMS, examples, KEY)
    call, x0, t = nets.call(), np.float64(examples["image"]), times(8)
    simple, vb = errors(call, x0, t).mean(), bound_terms(call, x0, t).mean()
    np.testing.assert_allclose(found.metrics["simple"], simple, rtol=1e-4)
    np.testing.assert_allclose(found.metrics["vb"], vb, rtol=1e-3)
    np.testing.assert_allclose(found.value, simple + 0.25 * vb, rtol=1e-3)


@pytest.mark.parametrize("variance", [None, "small", "large"])
def test_the_variational_objective_is_the_bounds_term_under_the_variance_of_sampling(nets, variance):
    sampler = {"name": "ancestral"} | ({"variance": f"fixed_{variance}"} if variance else {})
    learned = {"learned_variance": True} if variance is None else {}
    family = build(objective="variational", vb_weight=0.25, draw={"sampler": sampler}, **learned)
    examples = batch(8)
    found = losses.jitted(family, PARAMS, examples, KEY)
    wanted = bound_terms(nets.call(), np.float64(examples["image"]), times(8), variance).mean()
    np.testing.assert_allclose(found.value, wanted, rtol=2e-3)
    assert found.metrics == {}


def test_evaluation_is_the_loss_of_each_example_at_spread_times_of_all_that_is_told(nets):
    family, examples = build(conditional=True, label_dropout=1.0, learned_variance=True, vb_weight=0.25), batch(8)
    moved = {"model": {"gain": jnp.float32(0.5)}}
    found = jax.jit(family.evaluate)(Weights(moved, (), {}), examples, KEY)
    call, x0 = nets.call(), np.float64(examples["image"])
    first = float(jax.random.uniform(stream(KEY, "time"), ()))
    t = np.floor((first + np.arange(8) / 8) % 1.0 * STEPS).astype(int)
    np.testing.assert_allclose(call.x, noisy(x0, t), atol=1e-5)
    np.testing.assert_allclose(call.c_noise, 3.0 * t, rtol=1e-6)
    np.testing.assert_array_equal(call.label, examples["label"])
    assert call.gain == 0.5 and not call.train and not call.rngs
    simple, vb = errors(call, x0, t), bound_terms(call, x0, t)
    np.testing.assert_allclose(found["simple"], simple, rtol=1e-4)
    np.testing.assert_allclose(found["vb"], vb, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["loss"], simple + 0.25 * vb, rtol=1e-3)


def rectangle(mask):
    """(height, width) of the one rectangle of zeros in a mask."""
    rows, columns = np.flatnonzero((mask == 0).any(axis=1)), np.flatnonzero((mask == 0).any(axis=0))
    assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all(), "no gaps"
    assert (mask[np.ix_(rows, columns)] == 0).all() and (mask == 0).sum() == len(rows) * len(columns)
    return len(rows), len(columns)


def test_an_erased_image_is_shown_around_one_rectangle_of_the_sides_requested(nets):
    family = build(SPEC._replace(image_shape=LARGE), inpaint={"min_side": 0.3, "max_side": 0.6, "everything": 0.0})
    examples = batch(200, LARGE)
    losses.jitted(family, PARAMS, examples, KEY)
    call = nets.call()
    shown, mask = call.x[..., CHANNELS:-1], call.x[..., -1]
    np.testing.assert_array_equal(np.unique(mask), [0, 1])
    np.testing.assert_array_equal(shown, examples["image"] * mask[..., None])
    heights, widths = np.array([rectangle(one) for one in mask]).T
    for sides, length in ((heights, 20), (widths, 30)):
        assert 0.3 * length - 1 <= sides.min() <= 0.35 * length and 0.55 * length <= sides.max() <= 0.6 * length + 1
        assert sides.mean() == pytest.approx(0.45 * length, abs=0.02 * length)
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.3
    starts = np.array([[np.flatnonzero((one == 0).any(axis=axis))[0] for axis in (1, 0)] for one in mask])
    places = starts / np.stack([20 - heights, 30 - widths], axis=1)
    np.testing.assert_allclose(np.quantile(places, [0.0, 0.5, 1.0], axis=0), [[0, 0], [0.5, 0.5], [1, 1]], atol=0.1)
    assert np.abs(np.corrcoef([*places.T, heights, widths]) - np.eye(4)).max() < 0.3
    # The network sees nothing of what is erased, but in x_t.
    erased = examples | {"image": examples["image"] * mask[..., None]}
    losses.jitted(family, PARAMS, erased, KEY)
    np.testing.assert_array_equal(nets.call().x[..., CHANNELS:], call.x[..., CHANNELS:])
    # Evaluation erases likewise, by the stream of its own key.
    jax.jit(family.evaluate)(Weights(PARAMS, (), {}), examples, KEY)
    np.testing.assert_array_equal(nets.call().x[..., CHANNELS:], call.x[..., CHANNELS:])


def test_of_a_share_of_the_images_nothing_is_known_and_the_loss_is_of_the_whole_image(nets):
    family, examples = build(inpaint={"min_side": 0.2, "max_side": 0.3, "everything": 0.4}), batch(2000)
    found = losses.jitted(family, PARAMS, examples, KEY)
    call, t = nets.call(), times(2000)
    nothing = (call.x[..., CHANNELS:] == 0).all(axis=(1, 2, 3))
    assert nothing.mean() == pytest.approx(0.4, abs=0.04)
    x0 = np.float64(examples["image"])
    np.testing.assert_allclose(call.x[..., :CHANNELS], noisy(x0, t), atol=1e-5)
    np.testing.assert_allclose(found.value, errors(call, x0, t).mean(), rtol=1e-4)


def test_noise_on_a_low_resolution_image_is_of_the_level_that_is_told_with_it(nets):
    """Of grey images nothing but the noise is seen; its deviation is sin(pi s / 2) of each example's own level."""
    shape = (32, 32, CHANNELS)
    family = build(SPEC._replace(image_shape=shape), low_res={"size": 32, "max_aug_level": 0.6})
    examples = batch(64, shape) | {"image": jnp.zeros((64, *shape))}
    losses.jitted(family, PARAMS, examples, KEY)
    call = nets.call()
    level = 0.6 * uniform(stream(stream(KEY, "low_res"), "aug_level"), 64)
    np.testing.assert_allclose(call.aug_level, level, rtol=1e-5)
    wanted = np.sin(np.pi / 2 * call.aug_level)
    np.testing.assert_allclose(call.x[..., CHANNELS:].std(axis=(1, 2, 3)), wanted, rtol=0.1)
    # It is no part of the noise on x_t, nor the same in all examples.
    parts = call.x.reshape(64, -1, 2, CHANNELS)
    noise = parts / parts.std(axis=(1, 3), keepdims=True)
    assert np.abs((noise[:, :, 0] * noise[:, :, 1]).mean(axis=(1, 2))).max() < 0.15
    assert np.abs((noise[:-1, :, 1] * noise[1:, :, 1]).mean(axis=(1, 2))).max() < 0.15


def test_a_model_that_upsamples_is_told_the_small_image_of_its_own_example(nets):
    examples = batch(8, (8, 8, CHANNELS))
    spec, settings = SPEC._replace(image_shape=(8, 8, CHANNELS)), {"size": 4, "crop_fraction": 0.5}
    found = losses.jitted(build(spec, low_res=settings), PARAMS, examples, KEY)
    call, t = nets.call(), times(8)
    assert call.x.shape == (8, 4, 4, 2 * CHANNELS) and call.aug_level is None
    # x_t is of a crop, found by undoing its noise, whose mean over blocks of 2x2 is upsampled beside it.
    crop = (
        call.x[..., :CHANNELS] - each(SIGMA[t], call.x) * normal(stream(KEY, "noise"), call.x[..., :CHANNELS])
    ) / each(ALPHA[t], call.x)
    small = crop.reshape(8, 2, 2, 2, 2, CHANNELS).mean(axis=(2, 4))
    wanted = jax.image.resize(small, (8, 4, 4, CHANNELS), "bilinear")
    np.testing.assert_allclose(call.x[..., CHANNELS:], wanted, atol=1e-4)
    corners = set()
    for image, one in zip(examples["image"], crop):
        windows = {(y, x): image[y : y + 4, x : x + 4] for y in (0, 2, 4) for x in (0, 2, 4)}
        at = [place for place, window in windows.items() if np.abs(window - one).max() < 1e-3]
        assert len(at) == 1
        corners.add(at[0])
    assert len(corners) > 1
    np.testing.assert_allclose(found.value, errors(call, crop, t).mean(), rtol=1e-3)


def test_small_images_are_left_out_with_their_labels(nets):
    family = build(conditional=True, label_dropout=0.3, low_res={"size": 2, "dropout": 0.3, "max_aug_level": 0.2})
    examples = batch(2000)
    losses.jitted(family, PARAMS, examples, KEY)
    call = nets.call()
    grey = (call.x[..., CHANNELS:] == 0).all(axis=(1, 2, 3))
    assert grey.mean() == pytest.approx(0.3, abs=0.04)
    np.testing.assert_array_equal(grey, call.label == CLASSES)
    np.testing.assert_array_equal(grey, uniform(stream(KEY, "label"), 2000) < 0.3)
    losses.jitted(build(low_res={"size": 2}), PARAMS, examples, KEY)
    assert not (nets.call().x[..., CHANNELS:] == 0).all(axis=(1, 2, 3)).any()


def test_an_inpainting_model_of_crops_is_shown_the_crop(nets):
    family = build(
        inpaint={"min_side": 0.2, "max_side": 0.3, "everything": 0.0}, low_res={"size": 2, "crop_fraction": 0.5}
    )
    losses.jitted(family, PARAMS, batch(8), KEY)
    call, t = nets.call(), times(8)
    assert call.x.shape == (8, 2, 2, CHANNELS + CHANNELS + 1 + CHANNELS), (
        "x_t, what is known and where, the small image"
    )
    known, mask = call.x[..., CHANNELS : -CHANNELS - 1], call.x[..., -CHANNELS - 1, None]
    x0 = (call.x[..., :CHANNELS] - each(SIGMA[t], call.x) * normal(stream(KEY, "noise"), known)) / each(
        ALPHA[t], call.x
    )
    np.testing.assert_allclose(known, x0 * mask, atol=1e-4)


def test_evaluation_of_a_model_that_upsamples_is_told_small_images_at_the_level_of_sampling(nets):
    low_res = {"size": 2, "max_aug_level": 0.5, "dropout": 1.0, "blur": (1.0, 1.0)}
    family = build(conditional=True, label_dropout=1.0, low_res=low_res, draw={"aug_level": 0.3, "guidance_scale": 4.0})
    examples = batch(8)
    jax.jit(family.evaluate)(Weights(PARAMS, (), {}), examples, KEY)
    call = nets.call()
    np.testing.assert_allclose(call.aug_level, 0.3, rtol=1e-6)
    np.testing.assert_array_equal(call.label, examples["label"])
    small = np.asarray(examples["image"]).reshape(8, 2, 2, 2, 2, CHANNELS).mean(axis=(2, 4))
    angle = np.pi / 2 * 0.3
    small = np.cos(angle) * small + np.sin(angle) * normal(stream(KEY, "low_res"), small)
    np.testing.assert_allclose(call.x[..., CHANNELS:], jax.image.resize(small, (8, *SHAPE), "bilinear"), atol=1e-4)


def test_a_network_that_predicts_well_has_little_loss_and_gradients_reach_it(nets):
    """The gradient of the mean loss by the one parameter, by differences."""
    family, examples = build(conditional=True), batch(8)
    gradient = losses.gradient(family, PARAMS, examples, KEY)["gain"]
    values = [
        losses.jitted(family, {"model": {"gain": jnp.float32(GAIN + by)}}, examples, KEY).value for by in (-0.05, 0.05)
    ]
    np.testing.assert_allclose(gradient, (values[1] - values[0]) / 0.1, rtol=1e-3)
