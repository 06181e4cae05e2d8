"""Proofs that every network of codes has to pass: what its logits depend on, and that its cache changes nothing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.autoregressive import sample
from genjax.core.tree import map_with_path
from genjax.nn import code_networks


def conditions(network, batch, context_channels=3, seed=0):
    """Codes, a label where the network knows classes, and a context."""
    rng = np.random.default_rng(seed)
    codes = jnp.asarray(rng.integers(0, network.num_codes, (batch, *network.grid)), jnp.int32)
    label = jnp.arange(batch, dtype=jnp.int32) % network.num_classes if network.num_classes else None
    context = jnp.asarray(rng.normal(size=(batch, *network.grid, context_channels)), jnp.float32)
    return codes, label, context if context_channels else None


def random_params(network, inputs, seed=0, scale=0.3):
    """Noise about as large as fresh parameters, and 1 on gains, so that nothing is zero and everything matters."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(seed), *inputs)["params"]

    def fill(path, leaf):
        noise = rng.standard_normal(leaf.shape, np.float32)
        if leaf.ndim > 1:
            return jnp.asarray(noise / np.float32(np.prod(leaf.shape[:-1])) ** 0.5)
        return jnp.asarray(scale * noise / leaf.shape[0] ** 0.5 + path.endswith(("scale", "gain")))

    return map_with_path(fill, shapes)


def expect_recomputing(network, params, inputs):
    """With `remat` the program of training says so; that nothing else changes is a slow test's."""
    settings = {"train": True, "rngs": {"dropout": jax.random.key(2)}}

    def program(remat):
        net = network(dropout=0.3, remat=remat)
        return jax.make_jaxpr(lambda params: net.apply({"params": params}, *inputs, **settings))(params)

    names = [{equation.primitive.name for equation in program(remat).eqns} for remat in (True, False)]
    assert names[0] - names[1] == {"remat2"}


def dependence(network, params, inputs):
    """[n, n] whether the logits at one position depend on the code at another, by gradients at every position.

    The embedded codes are replaced by one-hot vectors times the table, by which one can differentiate.
    """
    codes, label, context = inputs
    length = codes.shape[1] * codes.shape[2]
    direction = jax.random.normal(jax.random.key(1), (network.num_codes,))

    def projected(one_hot):
        def embed(next_fun, args, kwargs, of):
            if isinstance(of.module, nn.Embed) and of.module.name == "embed" and of.method_name == "__call__":
                shape = args[0].shape
                rows = one_hot[:, : np.prod(shape[1:])].reshape(*shape, network.num_codes)
                return rows @ of.module.embedding
            return next_fun(*args, **kwargs)

        with nn.intercept_methods(embed):
            logits = network.apply({"params": params}, codes, label, context)
        return (logits @ direction).reshape(length)

    one_hot = jax.nn.one_hot(codes.reshape(1, length), network.num_codes)
    jacobian = jax.jit(jax.jacrev(projected))(one_hot)
    return np.abs(np.asarray(jacobian)).max(axis=(1, 3)) > 0


def drawn(network, params, inputs, cached, count):
    """Codes drawn with the network's cache, or by whole passes."""
    _, label, context = inputs
    length = network.grid[0] * network.grid[1]
    keys = jax.random.split(jax.random.key(5), 64)[:count]

    def naive(codes):
        logits = network.apply({"params": params}, codes.reshape(count, *network.grid), label, context)
        return logits.reshape(count, length, -1)

    def draw(params):
        parts = code_networks.decoder(network, params, count, label, context)
        cache, step = parts if cached else sample.uncached(naive, count, length)
        return sample.decode(step, cache, length, keys)

    return jax.jit(draw)(params)


def teacher_forced(network, params, inputs):
    """Logits of every position by the network's steps, given the codes."""
    codes, label, context = inputs
    flat = codes.reshape(len(codes), -1)

    def walk(params):
        cache, step = code_networks.decoder(network, params, len(codes), label, context)

        def body(cache, at):
            logits, cache = step(cache, flat[:, at - 1], at)
            return cache, logits

        return jax.lax.scan(body, cache, jnp.arange(flat.shape[1]))[1]

    logits = jax.jit(walk)(params)
    return logits.swapaxes(0, 1).reshape(*codes.shape, -1)
