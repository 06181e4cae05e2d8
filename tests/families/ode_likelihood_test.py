"""The likelihood by the probability flow runs on networks as configs have them, with norms and attention.

Each step's forward derivative is held against the reverse one: <d, J d> = <J^T d, d>, for the very same directions d.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.configs import ddpm_digits
from genjax.core import rng
from genjax.core.images import dequantize
from genjax.diffusion import process
from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from genjax.families.shared import diffusion_model
from genjax.families.shared import diffusion_sampling as diffusion_sampling
from genjax.typing import DataSpec
from tests.families import perturbed

KEY = jax.random.key(0)
BATCH = {"image": jax.random.uniform(KEY, (2, 8, 8, 1), minval=-1, maxval=1), "label": jnp.asarray([3, 7])}


def make_family(config):
    """The config's family, and weights of which none is zero."""
    config.sampling.num_steps = "2"
    family = registry.build(
        config.family, config.model.to_dict(), config.sampling.to_dict(), DataSpec((8, 8, 1), num_classes=10)
    )
    return family, perturbed.weights(family, BATCH).params


def by_reverse_derivatives(denoise, levels, x0, key):
    """Bits a dimension along the same path, each trace from the reverse derivative."""
    direction = jax.random.rademacher(process.fold(key, 1), x0.shape, x0.dtype)
    path = levels.at(slice(None, -1)).at(slice(None, None, -1))
    angles = jnp.arctan2(path.sigma, path.alpha)

    @jax.jit
    def velocity(u, place):
        level, angle = path.at(place), angles[place]

        def flow(u):
            prediction = denoise(jnp.hypot(level.alpha, level.sigma) * u, level, key)
            return jnp.cos(angle) * prediction.eps - jnp.sin(angle) * prediction.x0

        rate, pull = jax.vjp(flow, u)
        return rate, (pull(direction)[0] * direction).sum((1, 2, 3))

    u = jnp.cos(angles[0]) * x0
    nats = 64 * jnp.log(jnp.cos(angles[0])) + jnp.zeros(len(x0))
    for place in range(len(angles) - 1):
        width = angles[place + 1] - angles[place]
        rate, trace = velocity(u, place)
        rate_end, trace_end = velocity(u + width * rate, place + 1)
        u, nats = u + width * (rate + rate_end) / 2, nats + width * (trace + trace_end) / 2
    nats = nats - 0.5 * (u**2 + np.log(2 * np.pi)).sum((1, 2, 3))
    return -nats / (64 * np.log(2)) + np.log2(127.5)


def test_the_digits_unet_with_norms_and_attention():
    family, params = make_family(ddpm_digits.get_config("tiny"))
    weights = Weights(params, (), {})
    found = jax.jit(family.interface.likelihoods["ode"])(weights, BATCH, KEY)["bits_per_dim"]
    model = family.interface.likelihoods["ode"].args[0]

    plain = diffusion_sampling.without_threshold(model)
    cond = diffusion_model.conditioning_from(model, {}, Conditions.of_batch(BATCH), KEY)
    denoise = diffusion_sampling.make_denoiser(plain, weights.params["model"], cond)
    x0 = dequantize(BATCH["image"], rng.stream(KEY, "dequantize"))
    expected = by_reverse_derivatives(denoise, model.levels(), x0, KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
