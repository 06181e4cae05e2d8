"""A network that remembers what it is called with and whose answer is known, and what tests hold it against in float64.

It takes the place of a denoising network, so that a test sees what reaches the network from the settings and the batch,
and can say by hand what becomes of its answer.
"""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn import denoising
from genjax.typing import DataSpec

CHANNELS = 2
SHAPE = (4, 4, CHANNELS)
CLASSES = 5
SPEC = DataSpec(SHAPE, num_classes=CLASSES)
STEPS = 40
BETAS = np.linspace(0.01, 0.3, STEPS)
SCHEDULE = {"name": "linear_beta", "num_steps": STEPS, "beta_start": 0.01, "beta_end": 0.3}
ALPHA = np.sqrt(np.cumprod(1 - BETAS))
SIGMA = np.sqrt(1 - ALPHA**2)
GAIN = 0.8
PARAMS = {"model": {"gain": jnp.float32(GAIN)}}


class Call(NamedTuple):
    """What the network was called with; arrays of numpy where they have values."""

    gain: Any
    x: Any
    c_noise: Any
    label: Any
    aug_level: Any
    context: Any
    train: bool
    rngs: Any


class Recorder:
    """In place of a network; `fields` are what it was built with, `calls` what it was called with."""

    def __init__(self, **fields):
        self.fields, self.calls, self.started = fields, [], []

    def init(self, key, *inputs):
        """One parameter; the inputs are kept."""
        self.started.append(inputs)
        return {"params": dict(PARAMS["model"])}

    def apply(self, variables, x, c_noise, label=None, aug_level=None, context=None, *, train=False, rngs=None):
        """`answer`, with the call kept; of a compiled function once it has run."""
        call = Call(variables["params"]["gain"], x, c_noise, label, aug_level, context, train, rngs)
        keys = {name: jax.random.key_data(key) for name, key in (rngs or {}).items()}

        def keep(call, keys):
            kept = jax.tree.map(np.asarray, call)
            self.calls.append(kept._replace(train=train, rngs=jax.tree.map(np.asarray, keys)))

        values = call._replace(train=None, rngs=None)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((values, keys))):
            jax.debug.callback(keep, values, keys, ordered=True)
        else:
            keep(values, keys)
        return answer(call, self.fields["out_channels"])


def answer(call: Call, out_channels: int = CHANNELS):
    """The network's output: x times a gain of its label, and a shift; of a learned variance a function of that too."""
    xp = np if isinstance(call.x, np.ndarray) else jnp
    beside = call.x[..., CHANNELS:]
    shift = 0.01 * call.c_noise
    shift = shift if call.aug_level is None else shift + 0.1 * call.aug_level
    gain = call.gain if call.label is None else each(call.gain + 0.05 * call.label, call.x, xp)
    for leaf in jax.tree.leaves(call.context):
        shift = shift + 0.3 * leaf.reshape(len(leaf), -1).mean(axis=1)
    out = gain * call.x[..., :CHANNELS] + shift[:, None, None, None]
    if beside.shape[-1]:
        out = out + 0.2 * beside.mean(axis=-1, keepdims=True)
    return out if out_channels == CHANNELS else xp.concatenate([out, 0.7 * xp.cos(3 * out)], axis=-1)


class Nets:
    """The networks that were built since, the last one at hand."""

    def __init__(self):
        self.made = []

    def make(self, name, **fields):
        """As `denoising.make`."""
        self.made.append(Recorder(**fields))
        return self.made[-1]

    @property
    def last(self) -> Recorder:
        """The one that was built last."""
        return self.made[-1]

    def call(self) -> Call:
        """The one call since the last question."""
        (call,) = self.taken()
        return call

    def taken(self) -> list[Call]:
        """All calls since the last question."""
        jax.effects_barrier()
        calls, self.last.calls = self.last.calls, []
        return calls


@pytest.fixture
def nets(monkeypatch):
    """Families build recorders in place of networks."""
    nets = Nets()
    monkeypatch.setattr(denoising, "make", nets.make)
    return nets


def _scan(body, state, inputs):
    length, outputs = len(jax.tree.leaves(inputs)[0]), []
    for i in range(length):
        state, output = body(state, jax.tree.map(lambda leaf: leaf[i], inputs))  # noqa: B023
        outputs.append(output)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def _fori_loop(start, end, body, state):
    for i in range(start, end):
        state = body(i, state)
    return state


@pytest.fixture
def unrolled(monkeypatch):
    """Loops run in Python, so that every call of the network has values."""
    monkeypatch.setattr(jax.lax, "scan", _scan)
    monkeypatch.setattr(jax.lax, "fori_loop", _fori_loop)
    monkeypatch.setattr(jax.lax, "map", lambda body, inputs: _scan(lambda _, x: (None, body(x)), None, inputs)[1])


def model(**changes):
    """`config.model` of a diffusion model, with nothing at its default."""
    return {
        "schedule": SCHEDULE,
        "parameterization": {"name": "v", "noise_scale": 3.0},
        "weighting": {"name": "min_snr", "gamma": 2.0},
        "time_sampler": {"name": "uniform"},
        "network": {"name": "stub", "width": 8},
        **changes,
    }


def sampling(**changes):
    """`config.sampling` of a diffusion model."""
    return {"sampler": {"name": "ddim"}, "num_steps": "4", "threshold": {"name": "none"}, **changes}


def batch(count=8, shape=SHAPE, seed=0):
    """Images at whole 8-bit levels, and labels."""
    draw = np.random.default_rng(seed)
    image = np.round(draw.uniform(0, 255, (count, *shape))) / 127.5 - 1
    return {"image": jnp.asarray(image, jnp.float32), "label": jnp.asarray(draw.integers(0, CLASSES, count))}


def stream(key, name):
    """The key of a named stream of a step's key."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), 0)


def each(values, like, xp=np):
    """Values [b] beside images; of numpy in float64."""
    values = np.asarray(values, np.float64) if xp is np else values
    return values.reshape(-1, *[1] * (np.ndim(like) - 1))


def uniform(key, shape):
    """Even draws in [0, 1)."""
    return np.asarray(jax.random.uniform(key, np.atleast_1d(shape)))


def normal(key, like):
    """Noise for images."""
    return np.asarray(jax.random.normal(key, np.shape(like)), np.float64)


def keys_equal(one, other) -> bool:
    """Whether two keys are the same; they may be given by their data."""
    one, other = (x if isinstance(x, np.ndarray) else np.asarray(jax.random.key_data(x)) for x in (one, other))
    return bool((one == other).all())


def v_estimate(x_t, output, t):
    """x0 of a network that predicts v on the chain."""
    return each(ALPHA[t], x_t) * x_t - each(SIGMA[t], x_t) * output
