"""The losses of BEiT and its classifier in float64, and what they may see: networks that note their input."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.configs import beit_base, beit_finetune_imagenet
from genjax.families import beit, image_classifier, registry
from genjax.families.interfaces import Tokenizer, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.draws import draws, repeated
from tests.families.watch import Watch

KEY = jax.random.key(4)
K, GRID = 5, (4, 4)
WATCH = Watch()


def encode(weights, images):
    """The mean of 2x2 pixels in fifths, moved on by the frozen weights."""
    b, h, w, _ = images.shape
    means = images.reshape(b, h // 2, 2, w // 2, 2, -1).mean((2, 4, 5))
    return ((jnp.clip((means + 1) / 2 * K, 0, K - 1).astype(jnp.int32) + weights.params["turn"]) % K,)


def decode(weights, codes):
    return jnp.repeat(jnp.repeat(codes[0][..., None].astype(jnp.float32), 2, 1), 2, 2)


FROZEN = {"tokenizer": Weights({"turn": jnp.int32(2)}, (), {})}


class Network(nn.Module):
    """Logits of each patch from a table, whatever is seen."""

    num_codes: int
    trunk: Mapping[str, Any]
    dtype: Any = None

    @nn.compact
    def __call__(self, images, mask, train=False):
        WATCH.note(images=images, mask=mask, train=train)
        table = self.param("table", nn.initializers.normal(2.0), (*mask.shape[1:], self.num_codes))
        return jnp.broadcast_to(table, (len(images), *table.shape))


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(beit.beit, "MaskedBeit", Network)
    WATCH.calls()


def build(size=8, **model):
    config = beit_base.get_config("tiny")
    network = config.model.network.to_dict() | model.pop("network", {})
    masking = {"num_masked": 6, "min_block": 2} | model.pop("masking", {})
    tokenizer = Tokenizer(encode, decode, K, (GRID,), (8, 8, 1))
    settings = {"network": network, "masking": masking, **model}
    return registry.build("beit", settings, {}, DataSpec((size, size, 1)), {"tokenizer": tokenizer})


def make_images(count=8, size=8):
    return {"image": jax.random.uniform(KEY, (count, size, size, 1), minval=-1, maxval=1)}


def made(family, size=8):
    params = jax.jit(family.init)(KEY, make_images(1, size))[0]
    WATCH.calls()  # of `init`
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape, np.float32), params)


def nats(table, codes):
    log_p = scipy.special.log_softmax(np.asarray(table, np.float64), axis=-1)
    return -np.take_along_axis(np.broadcast_to(log_p, (*codes.shape, K)), codes[..., None], -1)[..., 0]


def test_the_loss_is_the_mean_over_hidden_patches(stub):
    """-log p(code), summed over what was hidden from the network, over the number of these; codes by frozen weights."""
    family = build()
    params = made(family)
    found = losses.jitted(family, params, make_images(), KEY, frozen=FROZEN)
    (call,) = WATCH.calls()
    mask, table = call["mask"], params["model"]["table"]
    codes = np.asarray(encode(FROZEN["tokenizer"], make_images()["image"])[0])
    assert call["train"] and len({row.tobytes() for row in mask}) > 6, "a mask of each example's own"
    np.testing.assert_allclose(found.value, nats(table, codes)[mask].mean(), rtol=1e-5)
    right = np.argmax(table, -1) == codes
    np.testing.assert_allclose(found.metrics["accuracy"], right[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["masked"], mask.mean(), rtol=1e-5)
    np.testing.assert_array_equal(call["images"], make_images()["image"])
    values = jax.jit(family.evaluate)(Weights(params, (), FROZEN), make_images(), KEY)
    (call,) = WATCH.calls()
    mask = call["mask"]
    expected = [row[hidden].mean() for row, hidden in zip(nats(table, codes), mask, strict=True)]
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["accuracy"], [r[m].mean() for r, m in zip(right, mask, strict=True)], rtol=1e-5)
    assert not call["train"]
    shown = jax.jit(family.reconstruct)(Weights(params, (), FROZEN), make_images()["image"], KEY)
    mask = WATCH.calls()[0]["mask"]
    expected = np.where(mask, np.broadcast_to(np.argmax(table, -1), mask.shape), codes)
    np.testing.assert_array_equal(shown, decode(None, (jnp.asarray(expected),)))


def test_masks_are_of_the_configured_blocks(stub):
    """Squares of four patches alone: area 4 and aspect 1. Of aspects far from 1 there are others."""
    squares = build(masking={"num_masked": 4, "min_block": 4, "min_aspect": 1.0})
    losses.jitted(squares, made(squares), make_images(64), KEY, frozen=FROZEN)
    mask = WATCH.calls()[0]["mask"]
    assert (mask.sum((1, 2)) == 4).all() and (mask.any(1).sum(1) == 2).all() and (mask.any(2).sum(1) == 2).all()
    lines = build(masking={"num_masked": 3, "min_block": 3, "min_aspect": 1 / 3})
    losses.jitted(lines, made(lines), make_images(64), KEY, frozen=FROZEN)
    mask = WATCH.calls()[0]["mask"]
    assert {1, 3} <= set(mask.any(1).sum(1)) and {1, 3} <= set(mask.any(2).sum(1))


def test_the_tokenizer_sees_the_whole_image_at_its_own_size(stub):
    """16 pixels in patches of 4, of which the tokenizer sees 8: images of one grey keep their code."""
    family = build(size=16, network={"patch_size": 4}, tokenizer_size=8)
    grey = jnp.array([-0.95, -0.5, 0.1, 0.5, 0.95])
    images = {"image": jnp.broadcast_to(grey[:, None, None, None], (5, 16, 16, 1))}
    params = made(family, 16)
    found = losses.jitted(family, params, images, KEY, frozen=FROZEN)
    mask = WATCH.calls()[0]["mask"]
    codes = np.broadcast_to(((np.arange(5) + 2) % K)[:, None, None], mask.shape)
    np.testing.assert_allclose(found.value, nats(params["model"]["table"], codes)[mask].mean(), rtol=1e-5)


def test_the_network_does_not_see_what_it_is_to_predict():
    """No pixel of a hidden patch moves the loss, and every pixel of the others does."""
    family = build(network={"drop_path": 0.0, "layer_scale": 1.0, "depth": 1}, feature_depth=1)
    params = perturbed.noise(family, make_images(1), scale=0.3).params

    def loss(images):
        found = losses.compute(family, params, {"image": images}, KEY, frozen=FROZEN)
        return found.value, found.metrics["masked"]

    images = make_images(4)["image"]
    gradient, masked = jax.jit(jax.grad(loss, has_aux=True))(images)
    by_patch = jnp.abs(gradient).reshape(4, 4, 2, 4, 2).max((2, 4))
    unseen = (by_patch == 0).sum((1, 2))
    assert unseen.max() <= 6 and unseen.sum() == round(16 * 4 * float(masked)) > 8


def of(family, examples, frozen=()):
    shapes = jax.eval_shape(family.init, KEY, examples)[0]
    made = draws(lambda p, key: losses.compute(family, p, examples, key, frozen=dict(frozen)).value, shapes, KEY)
    held_out = draws(lambda p, key: family.evaluate(Weights(p, (), dict(frozen)), examples, key), shapes, KEY)
    assert not repeated(made) and not repeated(held_out)
    return [draw.shape for draw in made], [draw.shape for draw in held_out]


def test_drop_path_is_of_training_alone_and_every_draw_has_a_key_of_its_own():
    """Both branches of the second of two blocks; in beits beside four numbers a block of each mask."""
    branch = (4, 1, 1)
    training, held_out = of(build(network={"drop_path": 0.4}), make_images(4), FROZEN)
    assert training.count(branch) == 2 and training.count((4,)) == 4
    assert held_out == [shape for shape in training if shape != branch]
    config = beit_finetune_imagenet.get_config("tiny")
    family = registry.build(config.family, config.model.to_dict(), {}, DataSpec((8, 8, 1), num_classes=3))
    training, held_out = of(family, make_images(4) | {"label": jnp.zeros(4, jnp.int32)})
    assert training == [branch] * 2 and held_out == []


class Classifier(nn.Module):
    """Logits linear in the mean pixel."""

    num_classes: int
    trunk: Mapping[str, Any]
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        WATCH.note(train=train)
        slope, offset = (self.param(name, nn.initializers.normal(2.0), (3,)) for name in ("slope", "offset"))
        return slope * images.mean((1, 2, 3))[:, None] + offset


def test_the_classifiers_loss_is_of_smoothed_labels(monkeypatch):
    monkeypatch.setattr(image_classifier.beit, "BeitClassifier", Classifier)
    model = {"network": {"patch_size": 2}, "label_smoothing": 0.3}
    family = registry.build("image_classifier", model, {}, DataSpec((8, 8, 1), num_classes=3))
    params, label = made(family), np.array([0, 1, 2, 0, 1, 2, 0, 1])
    examples = make_images() | {"label": jnp.asarray(label, jnp.int32)}
    WATCH.calls()
    found = losses.jitted(family, params, examples, KEY)
    values = jax.jit(family.evaluate)(Weights(params, (), {}), examples, KEY)
    assert [bool(call["train"]) for call in WATCH.calls()] == [True, False]
    slope, offset = (np.asarray(params["model"][name], np.float64) for name in ("slope", "offset"))
    logits = slope * np.asarray(examples["image"], np.float64).mean((1, 2, 3))[:, None] + offset
    log_p = scipy.special.log_softmax(logits, axis=1)
    target = 0.7 * np.eye(3)[label] + 0.3 / 3
    np.testing.assert_allclose(found.value, -(target * log_p).sum(1).mean(), rtol=1e-5)
    right = logits.argmax(1) == label
    np.testing.assert_allclose(found.metrics["accuracy"], right.mean(), rtol=1e-6)
    np.testing.assert_allclose(values["nats"], -log_p[np.arange(8), label], rtol=1e-4)
    np.testing.assert_array_equal(values["accuracy"], right)
