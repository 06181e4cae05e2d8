"""RealNVP: its log-determinant is that of its Jacobian, its inverse is exact, and it starts as the identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn import real_nvp
from genjax.nn.real_nvp import Coupling, RealNVP, checkerboard_mask, from_logits, squeeze, to_logits, unsqueeze

KEY = jax.random.key(0)
FIELDS = {"width": 4, "num_res_blocks": 1, "num_couplings": 2}
CASES = [
    pytest.param((4, 4, 1), {"num_scales": 2}, id="digits"),
    pytest.param(
        (4, 4, 3), {"num_scales": 3, "num_groups": 2, "num_couplings": 1}, id="three scales", marks=pytest.mark.slow
    ),
]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def images(shape, count=2):
    return jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (count, *shape)))


def make(shape, fields):
    """(network, random variables of which none is zero)."""
    network, noise = RealNVP(**FIELDS | fields), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, KEY, images(shape))
    return network, jax.tree.map(lambda leaf: jnp.asarray(0.4 * noise.standard_normal(leaf.shape)), shapes)


@pytest.mark.parametrize(("shape", "fields"), CASES)
def test_log_determinant_is_that_of_the_jacobian(float64, shape, fields):
    network, variables = make(shape, fields)
    x, size = images(shape), int(np.prod(shape))

    @jax.jit
    def both(x):
        jacobian = jax.vmap(jax.jacfwd(lambda one: network.apply(variables, one[None])[0][0]))(x)
        return network.apply(variables, x)[1], jnp.linalg.slogdet(jacobian.reshape(-1, size, size))[1]

    found, wanted = both(x)
    assert found.dtype == jnp.float64 and jnp.abs(found[0] - found[1]) > 1e-2
    np.testing.assert_allclose(found, wanted, rtol=1e-11)


@pytest.mark.parametrize(("shape", "fields"), CASES)
def test_the_inverse_is_exact(float64, shape, fields):
    network, variables = make(shape, fields)
    x = images(shape)
    z, _ = jax.jit(network.apply)(variables, x)
    assert jnp.abs(z - to_logits(x)[0]).min() > 0, "every entry is changed"
    noise = jax.random.normal(KEY, z.shape)
    back = jax.jit(lambda z: network.apply(variables, z, method="inverse"))(jnp.concatenate([z, noise]))
    np.testing.assert_allclose(back[:2], x, atol=1e-12)
    np.testing.assert_allclose(jax.jit(network.apply)(variables, back[2:])[0], noise, rtol=1e-9, atol=1e-10)


def test_fresh_parameters_are_the_identity_on_logits():
    network, x = RealNVP(**FIELDS | {"num_couplings": 1}), images((4, 4, 1)).astype(jnp.float32)

    @jax.jit
    def run(key):
        variables = network.init(key, x)
        return network.apply(variables, x, method="flow"), network.apply(variables, x)[0]

    (z, log_det), whole = run(jax.random.key(0, impl="rbg"))  # compiles several times as fast
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, 0)
    np.testing.assert_allclose(whole, to_logits(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_logits_and_their_slope_by_hand(float64, alpha):
    levels, noise = np.arange(256), np.random.default_rng(0).uniform(0, 1, 256)
    x = jnp.asarray((levels + noise - 0.5) / 127.5 - 1)[:, None, None, None]
    p = alpha + (1 - 2 * alpha) * (levels + noise) / 256
    found, log_slope = jax.jit(lambda x: to_logits(x, alpha))(x)
    np.testing.assert_allclose(found.ravel(), np.log(p / (1 - p)), rtol=1e-12)
    assert np.log(alpha / (1 - alpha)) < found.min() and found.max() < np.log((1 - alpha) / alpha)
    np.testing.assert_allclose(from_logits(found, alpha), x, atol=1e-13)
    slopes = jax.jit(jax.vmap(jax.grad(lambda one: to_logits(one[None], alpha)[0].sum())))(x).ravel()
    np.testing.assert_allclose(log_slope, np.log(slopes), rtol=1e-12)


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("mask", ["checkerboard", "channel"])
def test_a_coupling_keeps_its_half_and_reads_nothing_else(float64, mask, odd):
    """The Jacobian of the half that changes is diagonal in itself; the scale is at most `tanh_scale`."""
    layer, x, noise = Coupling(mask, odd, 4, 1), images((4, 4, 2)), np.random.default_rng(0)
    shapes = jax.eval_shape(layer.init, KEY, x)
    variables = jax.tree.map(lambda leaf: jnp.asarray(noise.standard_normal(leaf.shape)), shapes)
    place = np.add.outer(np.arange(4), np.arange(4))[..., None] + 0 * np.arange(2)
    keep = (place % 2 == odd if mask == "checkerboard" else 0 * place + np.arange(2) == odd).ravel()

    @jax.jit
    def both(x):
        return layer.apply(variables, x)[1], jax.jacfwd(lambda one: layer.apply(variables, one[None])[0][0])(x[0])

    log_det, jacobian = both(x)
    jacobian = np.asarray(jacobian).reshape(32, 32)
    np.testing.assert_array_equal(jacobian[keep], np.eye(32)[keep])
    own = jacobian[~keep][:, ~keep]
    np.testing.assert_array_equal(own, np.diag(np.diag(own)))
    assert (jacobian[~keep][:, keep] != 0).any(axis=0).all(), "all that is kept is read"
    np.testing.assert_allclose(np.log(np.diag(own)).sum(), log_det[0], rtol=1e-12)
    scale = np.abs(variables["params"]["tanh_scale"])
    assert (np.abs(np.log(np.diag(own))) <= np.broadcast_to(scale, (4, 4, 2)).ravel()[~keep]).all()


def test_squeezing_makes_channels_of_pixels():
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    found = squeeze(x)
    np.testing.assert_array_equal(found[0, 0, 1], [4, 5, 6, 7, 12, 13, 14, 15])
    np.testing.assert_array_equal(unsqueeze(found), x)
    upper = squeeze(jnp.broadcast_to(checkerboard_mask((4, 4, 1), False), (1, 4, 4, 1)))[..., :2]
    np.testing.assert_array_equal(upper, jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 2, 2, 2)))


def test_half_is_factored_out_at_each_scale(monkeypatch):
    """What the layers of each scale see, and how many numbers are done with after it."""
    seen = []
    through = real_nvp._through

    def note(layers, x, log_det):
        seen.append((len(layers), layers[0].mask, layers[0].width, x.shape[1:]))
        return through(layers, x, log_det)

    monkeypatch.setattr(real_nvp, "_through", note)
    network = RealNVP(width=4, num_res_blocks=1, num_scales=3)
    x = images((8, 8, 1)).astype(jnp.float32)
    variables = jax.eval_shape(network.init, KEY, x)
    assert seen == [
        (3, "checkerboard", 4, (8, 8, 1)), (3, "channel", 8, (4, 4, 4)),
        (3, "checkerboard", 8, (4, 4, 2)), (3, "channel", 16, (2, 2, 8)),
        (4, "checkerboard", 16, (2, 2, 4)),
    ]  # fmt: skip
    assert len(jax.tree.leaves(variables, is_leaf=lambda leaf: "tanh_scale" in leaf)) == 16


def test_what_was_factored_out_is_not_touched_again(float64):
    """Changing the last scale's layers changes a quarter of 8x8x1 under three scales, the rest of z stays."""
    network, variables = make((8, 8, 1), {"num_scales": 3, "num_couplings": 1})
    x = images((8, 8, 1))
    flow = jax.jit(lambda params: network.apply({"params": params}, x, method="flow")[0])
    z = flow(variables["params"])
    params = dict(variables["params"])
    last = {name: jax.tree.map(lambda leaf: 0.5 * leaf, params[name]) for name in params if "checkerboards_2" in name}
    changed = (z != flow(params | last))[0, :, :, 0]
    assert changed.sum() == 16


def test_the_computation_is_in_its_dtype_and_the_coupling_in_that_of_x():
    network = RealNVP(**FIELDS, dtype=jnp.bfloat16)
    x = images((4, 4, 1)).astype(jnp.float32)
    variables = jax.eval_shape(network.init, KEY, x)
    made = jax.make_jaxpr(network.apply)(variables, x)
    assert [out.dtype for out in made.out_avals] == [jnp.float32, jnp.float32] and "bf16" in str(made)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("method", ["__call__", "inverse"])
def test_images_that_cannot_be_halved_are_refused(method):
    with pytest.raises(ValueError, match="images of 6x8 can't be halved 2 times; choose a size that 4 divides"):
        jax.eval_shape(lambda: RealNVP(num_scales=3).init(KEY, jnp.zeros((1, 6, 8, 1)), method=method))
