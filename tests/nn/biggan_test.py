"""BigGAN's networks: the published sizes, and what depends on what."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax.configs.recipes import biggans
from genjax.core.tree import count_params, map_with_path, param_paths
from genjax.nn.biggan import LOGICAL_AXES, Discriminator, Generator
from genjax.nn.biggan_blocks import SelfAttention

GENERATOR = {"num_classes": 3, "width": 8, "channel_mult": (2, 2, 1), "attention_resolutions": (4,), "z_dim": 6}
GENERATOR |= {"shared_dim": 5, "bottom_size": 2, "out_channels": 1}
DISCRIMINATOR = {"num_classes": 3, "width": 8, "channel_mult": (1, 2, 2), "attention_resolutions": (4,)}
DISCRIMINATOR |= {"num_downsamples": 2}
Z = jax.random.normal(jax.random.key(1), (4, 6))
X = jax.random.normal(jax.random.key(2), (4, 8, 8, 1))
LABEL = jnp.array([2, 0, 1, 1])
STATE = ["batch_stats", "spectral"]


def counts(size, classes, generator, discriminator):
    """Parameters of both networks at an image size; nothing is computed."""
    label, image = jnp.zeros((1,), jnp.int32), jnp.zeros((1, size, size, 3))
    networks = (
        (
            Generator(classes, channel_mult=biggans.GENERATOR_MULT[size], **generator),
            jnp.zeros((1, generator["z_dim"])),
        ),
        (Discriminator(classes, **{"channel_mult": biggans.DISCRIMINATOR_MULT[size], **discriminator}), image),
    )
    shapes = (jax.eval_shape(network.init, jax.random.key(0), x, label) for network, x in networks)
    return tuple(count_params(variables["params"]) for variables in shapes)


@pytest.mark.parametrize(
    ("size", "classes", "generator", "discriminator", "published"),
    [
        (128, 1000, {"z_dim": 120}, {}, (70_433_988, 87_982_370)),
        pytest.param(
            256, 1000, {"z_dim": 140}, {"num_downsamples": 6}, (82_235_844, 99_225_890), marks=pytest.mark.slow
        ),
        (
            32,
            10,
            {"z_dim": 128, "shared_dim": 0, "width": 64, "attention_resolutions": ()},
            {"width": 64, "num_downsamples": 2, "attention_resolutions": ()},
            (4_304_387, 4_207_361),
        ),
        (
            128,
            1000,
            {"z_dim": 128, "width": 128, "depth": 2},
            {"width": 128, "depth": 2, "channel_mult": (2, 4, 8, 16, 16)},
            (50_244_484, 34_590_210),
        ),
    ],
    ids=["128", "256", "CIFAR", "deep 128"],
)
def test_published_counts(size, classes, generator, discriminator, published):
    assert counts(size, classes, generator, discriminator) == published


@pytest.mark.parametrize("size", biggans.GENERATOR_MULT)
def test_tables_give_the_sizes(size):
    generator = Generator(10, channel_mult=biggans.GENERATOR_MULT[size])
    assert generator.image_size == size
    halvings = 2 if size == 32 else size.bit_length() - 3
    assert halvings <= len(biggans.DISCRIMINATOR_MULT[size]) and size >> halvings in (4, 8)


def test_attention_is_that_of_the_module():
    """Scores unscaled, keys and values the largest of 2x2 pixels; the kernels are orthogonal, of norm 1 as they are."""
    x, draw = np.random.default_rng(0).normal(size=(2, 4, 4, 16)), np.random.default_rng(1)
    shapes = {"query": (16, 2), "key": (16, 2), "value": (16, 8), "out": (8, 16)}
    kernels = {name: scipy.stats.ortho_group.rvs(16, random_state=draw)[: shape[0], : shape[1]]
               for name, shape in shapes.items()}  # fmt: skip
    params = {f"dense_{name}": {"kernel": jnp.asarray(kernel, jnp.float32)} for name, kernel in kernels.items()}
    layer = SelfAttention()
    state = jax.eval_shape(lambda: layer.init(jax.random.key(0), jnp.asarray(x), False))["spectral"]
    variables = {"params": params | {"gamma": jnp.float32(0.7)}, "spectral": jax.tree.map(jnp.ones_like, state)}
    found = jax.jit(layer.apply, static_argnums=2)(variables, jnp.asarray(x, jnp.float32), False)

    def pooled(y):
        return y.reshape(2, 2, 2, 2, 2, -1).max((2, 4)).reshape(2, 4, -1)

    q, k, v = (x @ kernels[name] for name in ("query", "key", "value"))
    weights = scipy.special.softmax(q.reshape(2, 16, 2) @ pooled(k).swapaxes(1, 2), axis=-1)
    expected = x + 0.7 * (weights @ pooled(v)).reshape(2, 4, 4, 8) @ kernels["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def arbitrary(network, x):
    """Variables of which no parameter is zero, so that every input matters; faster than orthogonal ones."""
    noise = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, LABEL)

    def fill(path, leaf):
        if path.startswith("params/"):
            return jnp.asarray(0.3 * noise.standard_normal(leaf.shape, np.float32))
        return jnp.zeros(leaf.shape) if path.endswith("/mean") else jnp.ones(leaf.shape)

    return map_with_path(fill, shapes)


@pytest.fixture(scope="module")
def generator():
    network = Generator(**GENERATOR)
    return network, arbitrary(network, Z)


@pytest.fixture(scope="module")
def discriminator():
    network = Discriminator(**DISCRIMINATOR)
    return network, arbitrary(network, X)


def test_the_discriminator_sums_what_is_positive_over_pixels():
    """Of images of 0 the features are the last biases everywhere: four times the pixels give four times the logit."""
    fields = {"channel_mult": (1,), "attention_resolutions": (), "num_downsamples": 1}
    network, none = Discriminator(**DISCRIMINATOR | fields), ("conv_in/bias", "dense_out/bias")
    variables = map_with_path(lambda path, leaf: leaf * (not path.endswith(none)), arbitrary(network, X))
    apply = jax.jit(network.apply)
    small, large = (apply(variables, jnp.zeros((3, size, size, 1)), jnp.arange(3)) for size in (4, 8))
    assert jnp.abs(small).min() > 1e-3
    np.testing.assert_allclose(large, 4 * small, rtol=1e-4)
    negative = map_with_path(lambda path, leaf: -jnp.abs(leaf) if path.endswith("/bias") else leaf, variables)
    np.testing.assert_array_equal(apply(negative, jnp.zeros((3, 4, 4, 1)), jnp.arange(3)), 0.0)


def test_every_chunk_of_the_latent_and_the_label_matter(generator):
    network, variables = generator
    apply = jax.jit(network.apply)
    images = apply(variables, Z, LABEL)
    assert images.shape == (4, 8, 8, 1) and float(jnp.abs(images).max()) < 1
    for entry in range(6):
        other = apply(variables, Z.at[1, entry].add(1.0), LABEL)
        assert float(jnp.abs(other - images)[1].max()) > 1e-5
        np.testing.assert_array_equal(jnp.delete(other, 1, 0), jnp.delete(images, 1, 0))
    other = apply(variables, Z, LABEL.at[1].set(2))
    assert float(jnp.abs(other - images)[1].max()) > 1e-3
    assert jnp.isnan(apply(variables, Z, LABEL.at[1].set(3))[1]).all(), "there is no label 3"


def test_training_mixes_the_batch_and_renews_the_state(generator):
    network, variables = generator
    apply = jax.jit(lambda v, z: network.apply(v, z, LABEL, train=True, mutable=STATE))
    images, state = apply(variables, Z)
    other, _ = apply(variables, Z.at[1].add(1.0))
    assert float(jnp.abs(other - images)[0].max()) > 1e-4
    for name in STATE:
        moved = jax.tree.map(
            lambda a, b: a.size == 1 or float(jnp.abs(a - b).max()) > 1e-6, state[name], variables[name]
        )
        assert all(jax.tree.leaves(moved)), "every vector is renewed"


def test_the_discriminator_judges_each_image_under_its_label(discriminator):
    network, variables = discriminator
    apply = jax.jit(lambda v, x, y: network.apply(v, x, y, train=True, mutable=STATE)[0])
    logits = apply(variables, X, LABEL)
    assert logits.shape == (4,) and logits.dtype == jnp.float32
    other = apply(variables, X.at[1].add(0.1), LABEL.at[2].set(0))
    assert (jnp.abs(other - logits)[1:3] > 1e-4).all()
    np.testing.assert_array_equal(logits[jnp.array([0, 3])], other[jnp.array([0, 3])])
    parts = [variables["params"][name] for name in ("dense_out", "embed")]
    zero = {**variables, "params": variables["params"] | {"embed": jax.tree.map(jnp.zeros_like, parts[1])}}
    np.testing.assert_allclose(apply(zero, X, LABEL), apply(zero, X, (LABEL + 1) % 3), rtol=1e-6)


def small():
    """(network, arbitrary variables, its kind and fields, input) of one stage each: fast to compile."""
    less = {"channel_mult": (1, 1), "attention_resolutions": (), "z_dim": 4, "bottom_size": 4}
    for kind, fields, x in (
        (Generator, GENERATOR | less, Z[:, :4]),
        (Discriminator, DISCRIMINATOR | {"channel_mult": (1,), "attention_resolutions": (), "num_downsamples": 1}, X),
    ):
        network = kind(**fields)
        yield network, arbitrary(network, x), kind, fields, x


@pytest.mark.slow
def test_remat_changes_nothing():
    for network, variables, kind, fields, x in small():

        def gradient(net, variables=variables, x=x):
            def total(params):
                y, state = net.apply({**variables, "params": params}, x, LABEL, train=True, mutable=STATE)
                return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))), state

            return jax.jit(jax.grad(total, has_aux=True))(variables["params"])

        results = gradient(network), gradient(kind(**fields, remat=True))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *results)


def test_half_precision_only_rounds():
    for network, variables, kind, fields, x in small():

        def apply(net, variables=variables, x=x):
            return jax.jit(lambda v: net.apply(v, x, LABEL, train=True, mutable=STATE))(variables)

        (y, state), (rounded, kept) = apply(network), apply(kind(**fields, dtype="bfloat16"))
        assert rounded.dtype == jnp.float32 and all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(kept))
        assert 0 < float(jnp.sqrt(jnp.mean((y - rounded) ** 2) / jnp.mean(y**2))) < 0.1
        assert jax.tree.structure(state) == jax.tree.structure(kept)


def test_deep_networks_share_the_interface():
    deep = [(network := kind(**fields | {"depth": 2}), arbitrary(network, x), x) for _, _, kind, fields, x in small()]
    (network, variables, z), (judge, weights, _) = deep
    images = jax.jit(network.apply)(variables, z.at[1].set(z[0]).at[1, 3].add(1.0), LABEL.at[1].set(2))
    assert images.shape == X.shape and float(jnp.abs(images[0] - images[1]).max()) > 1e-5, "z_3 goes everywhere"
    logits = jax.jit(judge.apply)(weights, images, LABEL)
    assert logits.shape == (4,) and float(jnp.std(logits)) > 1e-5


def test_logical_axes_name_every_matrix(generator, discriminator):
    for _, variables in (generator, discriminator):
        params = variables["params"]
        for path, leaf in zip(param_paths(params), jax.tree.leaves(params), strict=True):
            ranks = [len(axes) for pattern, axes in LOGICAL_AXES if re.search(pattern, path)]
            assert leaf.ndim in ranks or leaf.ndim < 2, path


@pytest.mark.parametrize(
    ("network", "changes", "x", "words"),
    [
        (Generator, {"z_dim": 7}, jnp.zeros((4, 7)), "z_dim=7 can't be cut into 3 .*use 6 or 9"),
        (Generator, {"attention_resolutions": (16,)}, Z, r"has 16, but the generator's stages end at \[4, 8\]"),
        (Discriminator, {"num_downsamples": 4}, X, "8x8 can't be halved 4 times"),
        (Discriminator, {"attention_resolutions": (8,)}, X, r"has 8, but the discriminator's stages end at \[2, 4\]"),
    ],
)
def test_refusals(network, changes, x, words):
    fields = GENERATOR if network is Generator else DISCRIMINATOR
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(network(**fields | changes).init, jax.random.key(0), x, LABEL)
