"""Gated PixelCNN: its receptive field exactly, no blind spot, and the cache of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn import code_networks
from genjax.nn.pixelcnn import GatedPixelCNN
from tests.nn import code_network_cases as cases


def network(**changes):
    fields = {"num_codes": 6, "grid": (4, 5), "num_classes": 3, "width": 8, "depth": 3, "head_width": 12}
    return GatedPixelCNN(**{**fields, **changes})


@pytest.fixture(scope="module")
def inputs():
    return cases.conditions(network(), 3)


@pytest.fixture(scope="module")
def params(inputs):
    return cases.random_params(network(), inputs)


def field(grid, reach):
    """[n, n] what each position depends on, by the sentence in the module's docstring."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    above, across = rows[:, None] - rows[None], columns[:, None] - columns[None]
    return ((above > 0) & (above <= reach) & (np.abs(across) <= reach)) | (
        (above == 0) & (across > 0) & (across <= reach)
    )


@pytest.mark.parametrize(
    ("depth", "first_kernel", "kernel_size", "reach"), [(2, 3, 5, 3), pytest.param(1, 5, 3, 2, marks=pytest.mark.slow)]
)
def test_receptive_field_is_exact(depth, first_kernel, kernel_size, reach):
    net = network(grid=(6, 9), depth=depth, first_kernel=first_kernel, kernel_size=kernel_size)
    inputs = cases.conditions(net, 1)
    seen = cases.dependence(net, cases.random_params(net, inputs), inputs)
    np.testing.assert_array_equal(seen, field((6, 9), reach))


@pytest.mark.slow
def test_deep_enough_it_sees_all_codes_before_and_no_others():
    net = network(grid=(4, 5), depth=3, first_kernel=5)
    inputs = cases.conditions(net, 1)
    seen = cases.dependence(net, cases.random_params(net, inputs), inputs)
    np.testing.assert_array_equal(seen, np.tril(np.ones((20, 20), bool), -1))


def test_steps_are_the_whole_pass(params, inputs):
    whole = jax.jit(network().apply)({"params": params}, *inputs)
    np.testing.assert_allclose(cases.teacher_forced(network(), params, inputs), whole, atol=2e-5)


@pytest.mark.slow
def test_cached_sampling_is_naive_sampling(params, inputs):
    cached, naive = (cases.drawn(network(), params, inputs, cached, 3) for cached in (True, False))
    np.testing.assert_array_equal(cached, naive)
    assert len(np.unique(cached)) > 3


def test_cache_without_conditions():
    net = network(num_classes=0, kernel_size=5, first_kernel=3, grid=(5, 3))
    inputs = cases.conditions(net, 2, context_channels=0)
    params = cases.random_params(net, inputs)
    whole = jax.jit(net.apply)({"params": params}, *inputs)
    np.testing.assert_allclose(cases.teacher_forced(net, params, inputs), whole, atol=2e-5)


def operations(net, params, inputs):
    """Multiplications in convolutions and matrix products of one step, with a new row and without one."""
    cache, step = code_networks.decoder(net, params, 1, *inputs[1:])
    compiled = jax.jit(lambda cache, code, at: step(cache, code, at)).lower(cache, jnp.zeros((1,), jnp.int32), 1)
    return compiled.compile().cost_analysis()["flops"]


def test_work_of_a_step_does_not_grow_with_the_rows():
    work = []
    for rows in (4, 16):
        net = network(grid=(rows, 5))
        inputs = cases.conditions(net, 1)
        work.append(operations(net, cases.random_params(net, inputs), inputs))
    assert work[1] < 1.02 * work[0]


def test_label_and_context_matter(params, inputs):
    codes, label, context = inputs
    apply = jax.jit(lambda *inputs: network().apply({"params": params}, *inputs))
    logits = apply(*inputs)
    assert jnp.abs(apply(codes, (label + 1) % 3, context) - logits).max(axis=-1).min() > 1e-3
    changed = np.abs(apply(codes, label, context.at[:, 1, 2].add(1.0)) - logits).max(axis=(0, 3))
    assert changed[1, 2] > 1e-4 and changed[0].max() == 0


@pytest.mark.slow
def test_recomputing_changes_no_gradient(params, inputs):
    def loss(params, remat):
        settings = {"train": True, "rngs": {"dropout": jax.random.key(2)}}
        logits = network(depth=2, dropout=0.3, remat=remat).apply({"params": params}, *inputs, **settings)
        return jnp.mean(jnp.square(logits))

    gradients = [jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (False, True)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *gradients)


def test_recomputing_is_requested_in_training(params, inputs):
    cases.expect_recomputing(network, params, inputs)


def test_refuses_even_kernels():
    with pytest.raises(ValueError, match="kernel_size=4"):
        jax.eval_shape(network(kernel_size=4).init, jax.random.key(0), *cases.conditions(network(), 1))
