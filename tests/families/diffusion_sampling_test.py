"""What the settings and conditions of a diffusion model make of its sampling, step by step against float64 by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import likelihood
from genjax.diffusion.denoisers import replace_x0
from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from tests.diffusion.loss_test import published_vb
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
    Call,
    answer,
    batch,
    each,
    keys_equal,
    model,
    normal,
    sampling,
    stream,
    uniform,
)
from tests.families.recorder import nets as nets
from tests.families.recorder import unrolled as unrolled
from tests.families.requested import conditions_of

KEY = jax.random.key(5)
WEIGHTS = Weights(PARAMS, (), {})
TIMES = [39, 26, 13, 0]
INDEX = jnp.array([7, 2, 5, 11, 0, 3, 9, 4])
LABEL = jnp.array([1, 4, 2, 0, 3, 3, 1, 0])
KEYS = [jax.random.fold_in(KEY, index) for index in INDEX]
IMAGES = np.asarray(batch(8, seed=4)["image"])


pytestmark = pytest.mark.usefixtures("unrolled")


def build(spec=SPEC, draw=(), **changes):
    return registry.build("diffusion", model(**changes), sampling(**dict(draw)), spec)


def conditions(**others):
    return conditions_of(label=LABEL, **others), INDEX


def noise(*folds, shape=SHAPE):
    """A draw of each sample's own key, after these folds."""
    drawn = []
    for key in KEYS:
        for fold in folds:
            key = jax.random.fold_in(key, fold)
        drawn.append(np.asarray(jax.random.normal(key, shape), np.float64))
    return np.stack(drawn)


def estimate(x, t, label=LABEL, beside=None, aug_level=None):
    """x0 of the recorder, which predicts v, and the rest of its answer."""
    x, t = np.float64(x), np.broadcast_to(t, len(x))
    seen = x if beside is None else np.concatenate([x, beside], axis=-1)
    called = Call(GAIN, seen, 3.0 * t, None if label is None else np.asarray(label), aug_level, None, False, None)
    out = answer(called, 2 * CHANNELS)
    return each(ALPHA[t], x) * x - each(SIGMA[t], x) * out[..., :CHANNELS], out[..., CHANNELS:]


def down(x, x0, cur, nxt):
    """DDIM's step; `nxt` is None for clean data."""
    alpha, sigma = (1.0, 0.0) if nxt is None else (ALPHA[nxt], SIGMA[nxt])
    return alpha * x0 + sigma * (x - ALPHA[cur] * x0) / SIGMA[cur]


def walk(x, x0_of, times=TIMES):
    """All of DDIM's steps."""
    for cur, nxt in zip(times, [*times[1:], None], strict=True):
        x = down(x, x0_of(x, cur), cur, nxt)
    return x


def plain(x, t):
    return estimate(x, t)[0]


def test_guided_by_every_setting_at_values_of_its_own(nets):
    """Guided between two values of sigma / alpha, rescaled, clipped; from scaled noise; of the raw weights given."""
    ratio = SIGMA / ALPHA
    settings = {
        "guidance_interval": (0.9 * float(ratio[13]), 1.1 * float(ratio[26])),
        "guidance_rescale": 0.6,
        "threshold": {"name": "static", "low": -0.4, "high": 0.5},
        "noise_scale": 0.7,
    }
    family = build(conditional=True, label_dropout=0.1, draw=settings)
    found = family.interface.sample(WEIGHTS, *conditions(guidance_scale=jnp.float32(3.0)), KEY)
    calls = nets.taken()
    null = np.full(8, CLASSES)
    for call, t in zip(calls, TIMES, strict=True):
        np.testing.assert_array_equal(call.label, np.concatenate([LABEL, null]))
        np.testing.assert_allclose(call.c_noise, np.full(16, 3.0 * t))
        np.testing.assert_array_equal(call.x[:8], call.x[8:])
        assert not call.train and not call.rngs

    def guided(x, t):
        cond, uncond = estimate(x, t)[0], estimate(x, t, null)[0]
        if t not in (26, 13):
            return np.clip(cond, -0.4, 0.5)
        moved = uncond + 3.0 * (cond - uncond)
        rescaled = moved * cond.std(axis=(1, 2, 3), keepdims=True) / moved.std(axis=(1, 2, 3), keepdims=True)
        return np.clip(0.6 * rescaled + 0.4 * moved, -0.4, 0.5)

    np.testing.assert_allclose(calls[0].x[:8], 0.7 * noise(0), atol=1e-5)
    np.testing.assert_allclose(found.images, walk(0.7 * noise(0), guided), atol=1e-4)
    assert found.trajectory is None


def test_unguided_it_sees_the_label_once_or_none_and_shows_the_way_where_it_is_requested(nets):
    family = build(conditional=True, draw={"trajectory": True})
    found = family.interface.sample(WEIGHTS, *conditions(), KEY)
    assert all(call.x.shape == (8, *SHAPE) and (call.label == LABEL).all() for call in nets.taken())
    np.testing.assert_allclose(found.images, walk(noise(0), plain), atol=1e-4)
    way = [walk(noise(0), plain, TIMES[:count]) for count in (4,)]
    np.testing.assert_allclose(found.trajectory[-1], way[0], atol=1e-4)
    np.testing.assert_allclose(found.trajectory[0], down(noise(0), plain(noise(0), 39), 39, 26), atol=1e-4)
    build(conditional=False).interface.sample(WEIGHTS, *conditions(), KEY)
    assert all(call.label is None for call in nets.taken())


@pytest.mark.parametrize(
    ("learned", "variance"), [(True, None), (True, "fixed_small"), (True, "fixed_large"), (False, None)]
)
def test_ancestral_steps_have_the_variance_that_was_learned_or_is_requested(nets, learned, variance):
    """Where none was learned and none is set it is the smaller one, beta tilde."""
    sampler = {"name": "ancestral"} | ({"variance": variance} if variance else {})
    family = build(conditional=True, learned_variance=learned, draw={"sampler": sampler, "noise_scale": 0.5})
    found = family.interface.sample(WEIGHTS, *conditions(), KEY).images
    x = 0.5 * noise(0)
    small_of_all = []
    for cur, nxt in zip(TIMES[:-1], TIMES[1:]):
        keep = (ALPHA[cur] * SIGMA[nxt] / ALPHA[nxt] / SIGMA[cur]) ** 2
        small_of_all.append((SIGMA[nxt] ** 2 * (1 - keep), SIGMA[cur] ** 2 * (1 - keep)))
    for step, (cur, nxt) in enumerate(zip(TIMES[:-1], TIMES[1:])):
        x0, out = estimate(x, cur)
        small, large = small_of_all[step]
        share = {None: (out + 1) / 2 if learned else 0.0, "fixed_small": 0.0, "fixed_large": 1.0}[variance]
        log_variance = share * np.log(large) + (1 - share) * np.log(small)
        r = ALPHA[cur] * SIGMA[nxt] / ALPHA[nxt] / SIGMA[cur]
        x = ALPHA[nxt] * (1 - r**2) * x0 + r * SIGMA[nxt] / SIGMA[cur] * x
        x = x + np.exp(0.5 * log_variance) * noise(1, step, 1)
    np.testing.assert_allclose(found, estimate(x, 0)[0], atol=2e-4)


def test_guides_from_outside_get_their_arrays_conditions_and_the_way_of_the_sampler(nets):
    """Two pulls on x0 add up, and their sum is clipped; what one alone makes of x0 stays, as do pulls on a mean."""
    requested = []

    def make(by):
        def guide_fn(held, given, mode):
            requested.append((held, given.label, mode))

            def guide(denoise):
                def moved(x_t, level, key):
                    told = denoise(x_t, level, key)
                    return replace_x0(told, told.x0 + by * held, x_t, level)

                return moved

            return guide

        return guide_fn

    weights = WEIGHTS._replace(guides=(jnp.float32(2.0), jnp.float32(3.0)))
    family = build(conditional=True, draw={"threshold": {"name": "static", "low": -0.4, "high": 0.5}})
    one = family.interface.guidable.guided((make(0.7),))
    found = one(weights._replace(guides=weights.guides[:1]), *conditions(), KEY).images
    np.testing.assert_allclose(found, walk(noise(0), lambda x, t: np.clip(plain(x, t), -0.4, 0.5) + 1.4), atol=1e-4)
    both = family.interface.guidable.guided((make(0.7), make(-0.1)))(weights, *conditions(), KEY).images
    expected = walk(noise(0), lambda x, t: np.clip(np.clip(plain(x, t), -0.4, 0.5) + 1.4 - 0.3, -1, 1))
    np.testing.assert_allclose(both, expected, atol=1e-4)
    assert [(float(held), mode) for held, _, mode in requested] == [(2.0, "score"), (2.0, "score"), (3.0, "score")]
    np.testing.assert_array_equal(requested[0][1], LABEL)
    ancestral = build(conditional=True, draw={"sampler": {"name": "ancestral"}})
    found = ancestral.interface.guidable.guided((make(0.7), make(-0.1)))(weights, *conditions(), KEY).images
    assert requested[-1][2] == "mean" and np.abs(found).max() > 1.05
    assert family.interface.guidable.schedule.num_steps == STEPS


def upsampled(small, size=(4, 4)):
    return np.asarray(jax.image.resize(small, (len(small), *size, CHANNELS), "bilinear"), np.float64)


def test_small_images_are_noised_by_their_level_and_left_out_of_the_null_half(nets):
    low_res = {"size": 2, "max_aug_level": 0.5, "dropout": 0.2}
    small = IMAGES[:, :2, :2]
    noisy = np.cos(0.15 * np.pi) * small + np.sin(0.15 * np.pi) * noise(2, shape=(2, 2, CHANNELS))
    given = conditions(low_res=jnp.asarray(small), aug_level=jnp.float32(0.3), guidance_scale=jnp.float32(2.5))
    for dropout, null in ((0.2, np.full(8, CLASSES)), (0.0, LABEL)):
        family = build(conditional=True, label_dropout=dropout, low_res=low_res)
        found = family.interface.sample(WEIGHTS, *given, KEY).images
        beside, level = upsampled(noisy), np.full(8, 0.3)
        for call in nets.taken():
            np.testing.assert_allclose(call.x[:8, ..., CHANNELS:], beside, atol=1e-5)
            assert (call.x[8:, ..., CHANNELS:] == 0).all()
            np.testing.assert_allclose(call.aug_level, np.full(16, 0.3), rtol=1e-6)
            np.testing.assert_array_equal(call.label, np.concatenate([LABEL, null]))

        def guided(x, t, null=null, beside=beside, level=level):
            uncond = estimate(x, t, null, 0 * beside, level)[0]
            return uncond + 2.5 * (estimate(x, t, LABEL, beside, level)[0] - uncond)

        np.testing.assert_allclose(found, walk(noise(0), guided), atol=1e-4)
    # Without a level there is none, and the small image is as it is.
    family.interface.sample(WEIGHTS, *conditions(low_res=jnp.asarray(small)), KEY)
    call = nets.taken()[0]
    np.testing.assert_allclose(call.x[..., CHANNELS:], upsampled(small), atol=1e-6)
    assert (call.aug_level == 0).all()
    build(low_res={"size": 2}).interface.sample(WEIGHTS, *conditions(low_res=jnp.asarray(small)), KEY)
    assert nets.taken()[0].aug_level is None


def test_reconstruction_upsamples_the_means_of_blocks_with_the_options_of_the_config(nets):
    low_res, draw = {"size": 2, "max_aug_level": 0.5}, {"aug_level": 0.3, "guidance_scale": 2.0}
    family = build(conditional=True, label_dropout=0.2, low_res=low_res, draw=draw)
    found = family.reconstruct(WEIGHTS, jnp.asarray(IMAGES), KEY)
    calls = nets.taken()
    assert (calls[0].label == CLASSES).all() and calls[0].label.shape == (16,)
    small = IMAGES.reshape(8, 2, 2, 2, 2, CHANNELS).mean(axis=(2, 4))
    options = {"aug_level": jnp.float32(0.3), "guidance_scale": jnp.float32(2.0)}
    given = Conditions(low_res=jnp.asarray(small), label=jnp.full(8, CLASSES), options=options)
    again = family.interface.sample(WEIGHTS, given, jnp.arange(8), KEY)
    np.testing.assert_allclose(found, again.images, atol=1e-5)
    never = build(conditional=True, low_res=low_res)
    nets.taken()
    never.reconstruct(WEIGHTS, jnp.asarray(IMAGES), KEY)
    label = nets.taken()[0].label
    np.testing.assert_array_equal(label, jax.random.randint(stream(KEY, "label"), (8,), 0, CLASSES))
    assert len(set(label)) > 2


def test_students_learn_from_the_guided_network_without_thresholds(nets):
    family = build(
        conditional=True, label_dropout=0.1, draw={"threshold": {"name": "static", "low": -0.1, "high": 0.1}}
    )
    teacher = family.interface.distillable
    x, level = jnp.asarray(IMAGES), teacher.schedule(jnp.full(8, 20.0))
    for scale in (None, 3.0):
        given = Conditions(label=LABEL, options={} if scale is None else {"guidance_scale": scale})
        found = teacher.denoiser({"gain": jnp.float32(GAIN)}, given)(x, level, KEY).x0
        cond, uncond = estimate(IMAGES, 20)[0], estimate(IMAGES, 20, np.full(8, CLASSES))[0]
        wanted = cond if scale is None else uncond + scale * (cond - uncond)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert teacher.params(Weights({"model": 7}, (), {})) == 7
    assert teacher.init(KEY, batch(8)) == PARAMS["model"]
    assert build(inpaint={"everything": 0.5}).interface.distillable is None


def test_the_bound_sums_a_term_at_every_step_under_noise_of_its_own(nets):
    threshold = {"name": "static", "low": -0.9, "high": 0.8}
    sampler = {"name": "ancestral", "variance": "fixed_large"}
    family = build(conditional=True, draw={"threshold": threshold, "sampler": sampler})
    x0 = np.float64(IMAGES)
    found = family.interface.likelihoods["bound"](WEIGHTS, {"image": jnp.asarray(IMAGES), "label": LABEL}, KEY)
    calls = nets.taken()
    assert [round(call.c_noise[0] / 3) for call in calls] == list(range(STEPS - 1, -1, -1))
    terms, noises = [], []
    for call, t in zip(calls, range(STEPS - 1, -1, -1)):
        np.testing.assert_array_equal(call.label, LABEL)
        noises.append(((call.x - ALPHA[t] * x0) / SIGMA[t]).ravel())
        guess = np.clip(estimate(call.x, t)[0], -0.9, 0.8)
        fraction = np.full_like(x0[0], 1.0 if t else -1.0)
        terms.append([published_vb(x0[i], np.float64(call.x[i]), t, guess[i], fraction, BETAS) for i in range(8)])
    noises = np.stack(noises)
    np.testing.assert_allclose(noises.std(axis=1), 1, atol=0.15)
    third = jax.random.fold_in(jax.random.fold_in(KEY, 2), 0)
    np.testing.assert_allclose(noises[2], normal(third, x0).ravel(), atol=1e-3)
    assert np.abs(np.corrcoef(noises) - np.eye(STEPS)).max() < 0.35
    prior = 0.5 * (SIGMA[-1] ** 2 + (ALPHA[-1] * x0) ** 2 - 1 - 2 * np.log(SIGMA[-1])).mean(axis=(1, 2, 3)) / np.log(2)
    np.testing.assert_allclose(found["prior_bits"], prior, rtol=1e-3)
    np.testing.assert_allclose(found["decoder_bits"], terms[-1], rtol=2e-3)
    np.testing.assert_allclose(found["bits_per_dim"], prior + np.sum(terms, axis=0), rtol=2e-3)


def test_the_likelihood_of_the_flow_is_of_dequantized_images_along_the_grid_of_sampling(nets, monkeypatch):
    requested = []

    def record(denoise, levels, x0, key):
        requested.append((denoise(x0, levels.at(1), key).x0, levels, x0, key))
        return jnp.arange(8.0)

    monkeypatch.setattr(likelihood, "ode_bits_per_dim", record)
    family = build(conditional=True, draw={"threshold": {"name": "static", "low": -0.1, "high": 0.1}})
    found = family.interface.likelihoods["ode"](WEIGHTS, {"image": jnp.asarray(IMAGES), "label": LABEL}, KEY)
    (x0_hat, levels, x0, key), *_ = requested
    np.testing.assert_array_equal(found["bits_per_dim"], np.arange(8))
    np.testing.assert_array_equal(levels.t, [*TIMES, -1])
    shift = (2 * uniform(stream(KEY, "dequantize"), IMAGES.shape) - 1) / 255
    np.testing.assert_allclose(x0, IMAGES + shift, atol=1e-6)
    np.testing.assert_allclose(x0_hat, plain(x0, 26), atol=1e-4)
    assert keys_equal(key, KEY)
