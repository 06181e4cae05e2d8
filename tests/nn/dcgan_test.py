"""DCGAN networks: batch norm's statistics, shapes of all sizes, independence of examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params, param_paths
from genjax.nn import dcgan

KEY = jax.random.key(0)


def features(shape=(6, 4, 5, 3)):
    return 3 * jax.random.normal(KEY, shape) + jnp.array([5.0, -100.0, 0.0])


def test_batch_norm_has_mean_and_spread_of_its_gains():
    norm = dcgan.BatchNorm()
    x = features()
    variables = norm.init(KEY, x)
    y, updated = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(y.std((0, 1, 2)), variables["params"]["scale"], rtol=1e-4)
    expected = {"mean": 0.1 * x.mean((0, 1, 2)), "var": 0.9 + 0.1 * x.var((0, 1, 2))}
    for name, value in expected.items():
        np.testing.assert_allclose(updated["batch_stats"][name], value, rtol=1e-4)
    assert variables["params"]["scale"] != pytest.approx(1.0, abs=1e-3), "N(1, .02)"


def test_averages_of_one_batch_give_what_training_gives():
    """With momentum 0 the running averages are this batch's, so evaluation normalises as training did."""
    norm = dcgan.BatchNorm(momentum=0.0)
    x = features()
    variables = norm.init(KEY, x)
    trained, updated = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(norm.apply({**variables, **updated}, x, False), trained, rtol=1e-5, atol=1e-5)
    alone = norm.apply({**variables, **updated}, x[2:3], False)
    np.testing.assert_allclose(alone, trained[2:3], rtol=1e-5, atol=1e-5)


def test_statistics_of_half_precision_are_float32():
    norm = dcgan.BatchNorm(dtype=jnp.bfloat16)
    x = (100 + jax.random.normal(KEY, (64, 4, 4, 2))).astype(jnp.bfloat16)
    y, updated = norm.apply(norm.init(KEY, x), x, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16 and updated["batch_stats"]["var"].dtype == jnp.float32
    np.testing.assert_allclose(y.astype(jnp.float32).std((0, 1, 2)), 1.0, atol=0.1)


@pytest.mark.parametrize(("size", "base", "extra"), [(8, 4, 0), (8, 2, 1), (16, 4, 0), (12, 3, 2)])
def test_widths_and_resolutions(size, base, extra):
    generator = dcgan.Generator((size, size, 3), width=4, base=base, extra_layers=extra)
    discriminator = dcgan.Discriminator(width=4, base=base, extra_layers=extra)
    changes = dcgan.resolutions(size, base)

    def shapes(key):
        z, images = jnp.zeros((2, 5)), jnp.zeros((2, size, size, 3))
        drawn, drawing = generator.init_with_output(key, z)
        judged, judging = discriminator.init_with_output(key, images)
        return drawn, judged, drawing["params"], judging

    drawn, judged, drawing, judging = jax.eval_shape(shapes, KEY)
    assert drawn.shape == (2, size, size, 3) and judged.shape == (2,)
    assert drawing["project"]["kernel"].shape == (5, base**2 * 4 * 2 ** (changes - 1))
    assert drawing[f"up_{changes - 1}"]["kernel"].shape == (4, 4, 4, 3)
    assert judging["params"][f"down_{changes - 1}"]["kernel"].shape[-1] == 4 * 2 ** (changes - 1)
    assert sum("extra_" in path and "kernel" in path for path in param_paths(drawing)) == extra
    assert set(judging) == {"params"}, "the discriminator keeps no averages"


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_a_discriminator_for_penalties_judges_each_image_by_itself(norm):
    network = dcgan.Discriminator(width=4, norm=norm)
    images = jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1)
    params = network.init(KEY, images)
    gradient = jax.jit(jax.grad(lambda x: network.apply(params, x)[1]))(images)
    others = jnp.abs(gradient).max((1, 2, 3))
    assert others[1] > 0 and others[0] == others[2] == others[3] == 0.0


def test_a_discriminator_with_batch_norm_mixes_them():
    network = dcgan.Discriminator(width=4, base=2)
    images = jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1)
    params = network.init(KEY, images)
    gradient = jax.jit(jax.grad(lambda x: network.apply(params, x)[1]))(images)
    assert (jnp.abs(gradient).max((1, 2, 3)) > 0).all()


def test_generator_is_within_range_and_starts_as_published():
    network = dcgan.Generator((8, 8, 1), width=64, base=2)
    images, variables = network.init_with_output(KEY, 100 * jax.random.normal(KEY, (8, 16)))
    assert jnp.abs(images).max() <= 1.0
    kernel = variables["params"]["up_0"]["kernel"]
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0.0, 0.02], atol=4e-4)
    assert count_params(variables["batch_stats"]) == 2 * (128 + 64)


def test_a_fifth_of_what_is_negative_passes_the_discriminator():
    """One convolution that gives -1 and 2 at each of 4x4 places, and a logit that sums them."""
    down = {"kernel": jnp.zeros((4, 4, 1, 2)), "bias": jnp.array([-1.0, 2.0])}
    params = {"down_0": down, "logit": {"kernel": jnp.ones((32, 1)), "bias": jnp.zeros(1)}}
    logits = jax.jit(dcgan.Discriminator(width=2, norm="none").apply)({"params": params}, jnp.zeros((1, 8, 8, 1)))
    np.testing.assert_allclose(logits, 16 * (2.0 - 0.2), rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="10 pixels aren't base=4 doubled"):
        dcgan.resolutions(10, 4)
    with pytest.raises(ValueError, match="4 pixels aren't base=4 doubled"):
        dcgan.resolutions(4, 4)
    with pytest.raises(ValueError, match="unknown norm 'spectral'"):
        dcgan.Discriminator(norm="spectral").init(KEY, jnp.zeros((1, 8, 8, 1)))


def test_half_precision_stays_inside():
    """Computed in bfloat16 from float32 parameters, given out in float32, and close to the full computation."""
    images, logits = {}, {}
    z = jax.random.normal(KEY, (8, 16))
    for dtype in ("float32", "bfloat16"):
        generator, judge = dcgan.Generator((8, 8, 1), width=8, dtype=dtype), dcgan.Discriminator(width=8, dtype=dtype)
        variables = generator.init(KEY, z)
        images[dtype], _ = generator.apply(variables, z, train=True, mutable=["batch_stats"])
        logits[dtype] = judge.apply(judge.init(KEY, images["float32"]), images["float32"])
        assert images[dtype].dtype == logits[dtype].dtype == jnp.float32
        assert variables["params"]["project"]["kernel"].dtype == jnp.float32
    assert 0 < jnp.abs(images["bfloat16"] - images["float32"]).max() < 0.05
    assert 0 < jnp.abs(logits["bfloat16"] - logits["float32"]).max() < 0.05
