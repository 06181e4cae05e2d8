"""CLIP's family: its loss, what it is told, its scale, its interface, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from genjax import generate, sharding
from genjax.configs import clip_noisy_shapes, clip_rn50, clip_shapes
from genjax.families import registry
from genjax.families.interfaces import ImageTextEncoder, TextEncoder, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed

SPEC = DataSpec((32, 32, 3), has_text=True, text_length=6, vocab_size=40)
KEY = jax.random.key(0)


def build(module=clip_shapes, spec=SPEC, **model):
    config = module.get_config("tiny")
    config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), {}, spec)


def batch(count=8):
    image = jax.random.uniform(KEY, (count, 32, 32, 3), minval=-1, maxval=1)
    tokens = jax.random.randint(KEY, (count, 6), 3, 40) * (jnp.arange(6) < 4)
    return {"image": image, "tokens": tokens.at[:, 3].set(2)}


def made(family):
    """Weights with nothing left at zero, so that every input matters."""
    return perturbed.weights(family, batch(1))


@pytest.fixture(scope="module")
def clean():
    family = build()
    return family, made(family)


@pytest.fixture(scope="module")
def noisy():
    family = build(clip_noisy_shapes)
    return family, made(family)


def loss_of(family, weights, examples=None, key=KEY):
    return losses.jitted(family, weights.params, examples or batch(), key, extra=weights.extra)


def test_loss_is_that_of_its_embeddings(clean):
    family, weights = clean
    interface = family.interface
    assert isinstance(interface, ImageTextEncoder) and isinstance(interface.text, TextEncoder)
    assert interface.schedule is None and (interface.text.length, interface.text.vocab_size) == (6, 40)

    @jax.jit
    def encode(weights, batch):
        return interface.encode_image(weights, batch["image"], None), interface.text.encode(weights, batch["tokens"])

    z_i, features = encode(weights, batch())
    np.testing.assert_allclose(jnp.linalg.norm(z_i, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(features.pooled, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(features.mask, batch()["tokens"] != 0)
    assert features.states.shape == (8, 6, interface.text.dim)
    scale = interface.logit_scale(weights)
    np.testing.assert_allclose(scale, np.exp(weights.params["model"]["logit_scale"]), rtol=1e-5)
    log_probs = [jax.nn.log_softmax(scale * z) for z in (z_i @ features.pooled.T, features.pooled @ z_i.T)]
    expected = -0.5 * sum(jnp.diagonal(each) for each in log_probs)
    values = jax.jit(family.evaluate)(weights, batch(), KEY)
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-4)
    found = loss_of(family, weights)
    assert found.value == pytest.approx(float(expected.mean()), rel=1e-4)
    assert found.extra == {} and set(found.metrics) == {"accuracy", "logit_scale"}


def test_scale_starts_at_the_temperature_and_stops_at_100(clean):
    family, weights = clean
    fresh = jax.eval_shape(family.init, KEY, batch(1))[0]["model"]
    assert fresh["logit_scale"].shape == ()
    high = {"model": {**weights.params["model"], "logit_scale": jnp.log(500.0)}}
    scale = family.interface.logit_scale(Weights(high, {}, {}))
    assert scale == pytest.approx(100.0, rel=1e-5)
    gradient = losses.gradient(family, high, batch(), KEY, extra=weights.extra)
    assert gradient["logit_scale"] > 0, "wrong pairs at random weights: the scale may fall"


@pytest.mark.slow
def test_gradients_on_eight_devices_are_those_on_one(clean):
    family, weights = clean
    run = jax.jit(
        jax.value_and_grad(
            lambda params, examples: losses.compute(family, params, examples, KEY, extra=weights.extra).value
        )
    )
    mesh = sharding.make_mesh()
    cut = jax.device_put(batch(16), NamedSharding(mesh, sharding.BATCH_SPEC))
    one, grads = run(weights.params, batch(16))
    eight, others = run(weights.params, cut)
    assert one == pytest.approx(float(eight), rel=1e-5)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_noisy_clip_is_told_the_time(noisy):
    family, weights = noisy
    interface, images = family.interface, batch()["image"]
    encode = jax.jit(interface.encode_image)
    t = jnp.linspace(0.0, 999.0, 8)
    assert interface.schedule.num_steps == 1000
    assert jnp.abs(encode(weights, images, t) - encode(weights, images, t[::-1])).max() > 1e-3
    with pytest.raises(ValueError, match="needs their times t"):
        interface.encode_image(weights, images, None)
    values = [loss_of(family, weights, key=jax.random.key(step)).value for step in (0, 1)]
    assert values[0] != values[1], "other noise, other times"
    values = jax.jit(family.evaluate)(weights, batch(), KEY)
    assert set(values) == {"loss", "accuracy", *(f"accuracy_q{i}" for i in (1, 2, 3, 4))}
    assert all(value.shape == (8,) for value in values.values())


def test_residual_tower_keeps_its_statistics():
    family = build(clip_rn50)
    weights = made(family)
    found = loss_of(family, weights)
    before, after = (jax.tree.leaves(stats) for stats in (weights.extra, found.extra))
    assert len(before) == len(after) > 0 and all(jnp.abs(a - b).max() > 0 for a, b in zip(before, after))
    encode = jax.jit(family.interface.encode_image)
    images = batch()["image"]
    among_others = encode(weights, jnp.concatenate([images[:1], -images[1:]]), None)
    np.testing.assert_allclose(encode(weights, images, None)[:1], among_others[:1], rtol=1e-4, atol=1e-6)


def test_images_are_normalised_by_channel():
    """Twice the spread around another mean is the same image to a network of doubled numbers."""
    family, other = build(), build(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    weights, images = made(family), batch()["image"]
    mean = jnp.array([0.1, 0.2, 0.3])
    same = 2 * (images / 2 + mean) - 1  # (same + 1) / 2 - mean = images / 2; half of what the first one sees, doubled
    patches = weights.params["model"]["image"]["patches"]
    doubled = {**weights.params["model"]["image"], "patches": {"kernel": 2 * patches["kernel"]}}
    adapted = Weights({"model": {**weights.params["model"], "image": doubled}}, {}, {})
    expected = jax.jit(family.interface.encode_image)(weights, images, None)
    np.testing.assert_allclose(jax.jit(other.interface.encode_image)(adapted, same, None), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": SPEC._replace(text_length=0)}, "needs captions as tokens"),
        ({"image": {"name": "perceptron"}}, "unknown image tower 'perceptron'"),
        ({"colour": "red"}, r"clip family: unknown \['colour'\]"),
        ({"module": clip_rn50, "schedule": {"name": "cosine"}}, "image.name='vit' can be"),
        ({"schedule": {"name": "cosine"}}, "image.time='sinusoids'"),
        ({"mean": (0.1, 0.2)}, r"mean=\(0.1, 0.2\) and std=\(0.5,\)"),
        ({"text": {"vocab_size": 10}}, "no room for the data's 40 different tokens"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_it_is_no_sampler(clean):
    family, weights = clean
    with pytest.raises(ValueError, match="draws no images.*--guide=clip"):
        generate.require_sampler(family.interface, "clip")
    with pytest.raises(ValueError, match=r"\(32, 32, 3\), not of \(16, 16, 3\)"):
        family.interface.encode_image(weights, jnp.zeros((1, 16, 16, 3)), None)
