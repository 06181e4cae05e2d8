"""CLIP's loss in float64, its noise and times, and its evaluation: towers of one table each that note what they see."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.configs import clip_noisy_shapes
from genjax.diffusion import schedules
from genjax.families import clip, registry
from genjax.families.interfaces import Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated
from tests.families.watch import Watch

KEY = jax.random.key(5)
SHAPE, LENGTH, VOCAB, DIM = (4, 4, 3), 2, 9, 4
MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.2, 0.5)
SCHEDULE = {"name": "cosine", "num_steps": 40}
WATCH = Watch()


class ImageTower(nn.Module):
    """The mean of each channel, mapped linearly; the sign is turned at times in `turned`."""

    out_channels: int
    dtype: Any = None
    time: str = "none"
    turned: tuple[float, float] = (1.0, 0.0)

    @nn.compact
    def __call__(self, x, t=None, train=False):
        WATCH.note(x=x, t=t, train=train)
        z = nn.Dense(self.out_channels, use_bias=False, name="layer")(x.mean((1, 2)))
        return z if t is None else jnp.where((self.turned[0] <= t) & (t < self.turned[1]), -1.0, 1.0)[:, None] * z


class TextTower(nn.Module):
    """Sums of a table's rows."""

    out_channels: int
    vocab_size: int
    length: int
    width: int = DIM
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens, train=False):
        states = nn.Embed(self.vocab_size, self.out_channels, name="table")(tokens)
        return states, states.sum(1)


@pytest.fixture
def towers(monkeypatch):
    monkeypatch.setitem(clip.TOWERS, "vit", ImageTower)
    monkeypatch.setattr(clip.clip_text, "TextTower", TextTower)
    WATCH.calls()


def build(schedule=(), **image):
    image = {"name": "vit", **({"time": "sinusoids"} if schedule else {}), **image}
    model = {"image": image, "text": {}, "dim": DIM, "mean": MEAN, "std": STD, "temperature": 0.3}
    spec = DataSpec(SHAPE, has_text=True, text_length=LENGTH, vocab_size=VOCAB)
    return registry.build("clip", model | {"schedule": dict(schedule)}, {}, spec)


def params(log_scale=0.9):
    rng = np.random.default_rng(0)
    image, table = rng.normal(size=(3, DIM)), rng.normal(size=(VOCAB, DIM))
    made = {"image": {"layer": {"kernel": image}}, "text": {"table": {"embedding": table}}, "logit_scale": log_scale}
    return {"model": jax.tree.map(jnp.float32, made)}


def batch(count=6, image=None):
    rng = np.random.default_rng(1)
    image = rng.uniform(-1, 1, (count, *SHAPE)) if image is None else np.broadcast_to(image, (count, *SHAPE))
    return {"image": jnp.asarray(image, jnp.float32), "tokens": jnp.asarray(rng.integers(1, VOCAB, (count, LENGTH)))}


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_loss_is_the_formula(towers):
    """-1/2 (log p(text | image) + log p(image | text)) with p ~ exp(s cos), of images normalised by channel."""
    found = losses.jitted(build(), params(), batch(), KEY)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params()["model"])
    pixels = ((np.asarray(batch()["image"], np.float64) + 1) / 2 - MEAN) / STD
    z_i = unit(pixels.mean((1, 2)) @ wide["image"]["layer"]["kernel"])
    z_t = unit(wide["text"]["table"]["embedding"][np.asarray(batch()["tokens"])].sum(1))
    logits = np.exp(0.9) * z_i @ z_t.T
    by_image, by_text = scipy.special.log_softmax(logits, axis=1), scipy.special.log_softmax(logits, axis=0)
    assert abs(np.diag(by_image).mean() - np.diag(by_text).mean()) > 1e-2
    np.testing.assert_allclose(found.value, -0.5 * (np.diag(by_image) + np.diag(by_text)).mean(), rtol=1e-5)
    own = np.arange(6)
    right = 0.5 * (logits.argmax(1) == own).mean() + 0.5 * (logits.argmax(0) == own).mean()
    np.testing.assert_allclose(found.metrics["accuracy"], right, rtol=1e-6)
    np.testing.assert_allclose(found.metrics["logit_scale"], np.exp(0.9), rtol=1e-5)
    (call,) = WATCH.calls()
    assert "t" not in call and call["train"]
    np.testing.assert_allclose(call["x"], pixels, atol=1e-5)
    held_out = jax.jit(build().evaluate)(Weights(params(), {}, {}), batch(), KEY)
    np.testing.assert_allclose(held_out["loss"], -0.5 * (np.diag(by_image) + np.diag(by_text)), rtol=1e-4)
    np.testing.assert_allclose(held_out["accuracy"], 0.5 * (logits.argmax(1) == own) + 0.5 * (logits.argmax(0) == own))
    assert not WATCH.calls()[0]["train"]


def test_the_scale_starts_at_the_inverse_temperature_and_is_held_at_100(towers):
    fresh = jax.jit(build().init)(KEY, batch(1))[0]
    np.testing.assert_allclose(build().interface.logit_scale(Weights(fresh, {}, {})), 1 / 0.3, rtol=1e-5)
    found = losses.jitted(build(), params(np.log(400.0)), batch(), KEY)
    np.testing.assert_allclose(found.metrics["logit_scale"], 100.0, rtol=1e-5)
    np.testing.assert_allclose(
        found.value, losses.jitted(build(), params(np.log(100.0)), batch(), KEY).value, rtol=1e-4
    )


def test_a_noisy_clip_is_trained_on_noisy_images_and_told_their_times(towers):
    """What the tower sees of x0 = .8 has the mean alpha(t) .8 and the spread sigma(t), by the time that it is told."""
    count = 2_000
    losses.jitted(build(SCHEDULE), params(), batch(count, image=0.8), KEY)
    (call,) = WATCH.calls()
    t, x_t = call["t"], 2 * (call["x"].astype(np.float64) * STD + MEAN) - 1
    level = schedules.make(**SCHEDULE)(jnp.asarray(t))
    alpha, sigma = (np.asarray(part, np.float64).reshape(-1) for part in (level.alpha, level.sigma))
    noise = (x_t.reshape(count, -1) - 0.8 * alpha[:, None]) / np.maximum(sigma, 1e-3)[:, None]
    for chosen in (t < 10, (t >= 10) & (t < 30), t >= 30):
        assert chosen.mean() > 0.2
        np.testing.assert_allclose([noise[chosen].mean(), noise[chosen].std()], [0, 1], atol=0.03)
    np.testing.assert_allclose([t.min(), t.mean(), t.max()], [0, 19.5, 39], atol=1)
    assert alpha[t == 39].max() < 0.06, "at the end nothing is left of the image"
    assert np.abs(np.corrcoef(noise[:40])[~np.eye(40, dtype=bool)]).mean() < 0.2, "noise of each image's own"


@pytest.mark.parametrize("quarter", [0, 2])
def test_evaluation_asks_at_one_time_of_each_quarter(towers, quarter):
    """A tower that turns all round in one quarter is wrong there alone; images are too bright for any noise."""
    family = build(SCHEDULE, turned=(10.0 * quarter, 10.0 * (quarter + 1)))
    made = params(4.0)
    made["model"]["text"]["table"]["embedding"] = jnp.ones((VOCAB, DIM)).at[1].set(-1.0)
    made["model"]["image"]["layer"]["kernel"] = jnp.ones((3, DIM))
    pair = {"image": 5_000.0 * jnp.array([1.0, -1.0])[:, None, None, None] * jnp.ones((2, *SHAPE))}
    pair["tokens"] = jnp.array([[2, 3], [1, 1]])
    evaluate = jax.jit(family.evaluate)
    for seed in range(6):
        values = evaluate(Weights(made, {}, {}), pair, jax.random.key(seed))
        for other in range(4):
            np.testing.assert_array_equal(values[f"accuracy_q{other + 1}"], float(other != quarter))
        np.testing.assert_allclose(values["accuracy"], 0.75)
        times = [call["t"] for call in WATCH.calls()]
        assert [int(t.min() // 10) for t in times] == [int(t.max() // 10) for t in times] == [0, 1, 2, 3]


def test_padding_is_no_negative_and_takes_no_share_of_the_times(towers):
    evaluate, weights, own = jax.jit(build(SCHEDULE).evaluate), Weights(params(), {}, {}), batch(3)
    alone = evaluate(weights, own, KEY)
    filled = jax.tree.map(lambda x: jnp.concatenate([x, jnp.ones_like(x[:2])]), own)
    among, full = (evaluate(weights, filled | {"present": jnp.arange(5) < there}, KEY) for there in (3, 5))
    for name, values in alone.items():
        np.testing.assert_allclose(among[name][:3], values, rtol=1e-4, atol=1e-5, err_msg=name)
    assert jnp.abs(full["loss"][:3] - alone["loss"]).max() > 1e-2, "two more pairs would"


def test_every_draw_has_a_key_of_its_own_and_dropout_is_of_training_alone():
    """Times, noise, and dropout of both towers, at the end of both branches of their block."""
    config = clip_noisy_shapes.get_config("tiny")
    config.model.image.update(dropout=0.5)
    config.model.text.update(dropout=0.5)
    spec = DataSpec((32, 32, 3), has_text=True, text_length=6, vocab_size=40)
    family = registry.build(config.family, config.model.to_dict(), {}, spec)
    examples = {"image": jnp.zeros((3, 32, 32, 3)), "tokens": jnp.ones((3, 6), jnp.int32)}
    shapes, extra = jax.eval_shape(family.init, KEY, examples)
    found = draws(lambda params, key: losses.compute(family, params, examples, key).value, shapes, KEY)
    assert not repeated(found)
    of_dropout = [draw.shape for draw in found if draw.shape in ((3, 17, 16), (3, 6, 16))]
    assert sorted(of_dropout) == [(3, 6, 16)] * 2 + [(3, 17, 16)] * 2 and (3, 32, 32, 3) in [d.shape for d in found]
    held_out = draws(lambda params, key: family.evaluate(Weights(params, extra, {}), examples, key), shapes, KEY)
    assert not {(3, 17, 16), (3, 6, 16)} & {draw.shape for draw in held_out} and not repeated(held_out)
