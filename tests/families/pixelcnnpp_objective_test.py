"""PixelCNN++'s loss in float64: a network of one table a class, whose mixture is summed by hand."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from genjax.configs import pixelcnnpp_digits
from genjax.families import pixelcnnpp, registry
from genjax.families.interfaces import Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated
from tests.families.watch import Watch

KEY = jax.random.key(9)
K, CLASSES = 2, 3
WATCH = Watch()


class Network(nn.Module):
    """Raw parameters of each pixel, by the label alone."""

    out_channels: int
    num_classes: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, x, label=None, train=False):
        WATCH.note(x=x, label=label, train=train)
        table = self.param("table", nn.initializers.normal(0.5), (max(self.num_classes, 1), *x.shape[1:3], 3 * K))
        return table[jnp.zeros(len(x), jnp.int32) if label is None else label]


def by_hand(raw, x):
    """log P of the levels of grey images: K weights, K means, K log-scales."""
    log_weights = scipy.special.log_softmax(raw[..., :K], axis=-1)
    mean, scale = raw[..., K : 2 * K], np.exp(np.maximum(raw[..., 2 * K :], -7))
    upper = np.where(x > 0.999, np.inf, (x - mean + 1 / 255) / scale)
    lower = np.where(x < -0.999, -np.inf, (x - mean - 1 / 255) / scale)
    chance = scipy.special.expit(upper) - scipy.special.expit(lower)
    return scipy.special.logsumexp(log_weights + np.log(chance), axis=-1).sum((1, 2))


def test_loss_and_evaluation_are_bits_of_the_label_s_own_mixture(monkeypatch):
    monkeypatch.setattr(pixelcnnpp.pixelcnnpp, "PixelCNNpp", Network)
    x = np.round(np.random.default_rng(0).uniform(0, 255, (7, 4, 2, 1))) / 127.5 - 1
    x[0], x[1] = -1.0, 1.0
    label = np.arange(7) % CLASSES
    batch = {"image": jnp.asarray(x, jnp.float32), "label": jnp.asarray(label, jnp.int32)}
    for conditional in (True, False):
        model = {"network": {}, "num_components": K, "conditional": conditional}
        family = registry.build("pixelcnnpp", model, {}, DataSpec((4, 2, 1), num_classes=CLASSES))
        params = jax.jit(family.init)(KEY, batch)[0]
        WATCH.calls()  # of `init`
        found = losses.jitted(family, params, batch, KEY)
        values = jax.jit(family.evaluate)(Weights(params, (), {}), batch, KEY)
        assert [bool(call["train"]) for call in WATCH.calls()] == [True, False]
        raw = np.asarray(params["model"]["table"], np.float64)[label if conditional else 0 * label]
        nats = -by_hand(raw, x)
        np.testing.assert_allclose(values["nll_nats"], nats, rtol=1e-4)
        np.testing.assert_allclose(values["bits_per_dim"], nats / 8 / np.log(2), rtol=1e-4)
        np.testing.assert_allclose(found.value, nats.mean() / 8 / np.log(2), rtol=1e-4)


def test_dropout_is_of_training_alone_and_every_draw_has_a_key_of_its_own():
    config = pixelcnnpp_digits.get_config("tiny")
    family = registry.build(config.family, config.model.to_dict(), {}, DataSpec((4, 4, 1), num_classes=CLASSES))
    batch = {"image": jnp.zeros((3, 4, 4, 1)), "label": jnp.zeros(3, jnp.int32)}
    shapes = jax.eval_shape(family.init, KEY, batch)[0]
    found = draws(lambda p, key: losses.compute(family, p, batch, key).value, shapes, KEY)
    assert len(found) > 5 and not repeated(found)
    assert draws(lambda p, key: family.evaluate(Weights(p, (), {}), batch, key), shapes, KEY) == []
