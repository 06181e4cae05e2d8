"""Guides down an energy: each moves samples nearer to its reference, and what doesn't fit is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.families.interfaces import Conditions, FeatureExtractor, Weights
from genjax.pipelines.guides import energies, features, image, registry, style
from tests.pipelines.guides_test import KEY, classifier, model


@pytest.fixture(scope="module")
def one_image(tmp_path_factory):
    """A file of stripes."""
    path = tmp_path_factory.mktemp("images") / "stripes: a.png"
    stripes = np.repeat(np.array([[20, 235, 20, 235]], np.uint8), 2, axis=1).repeat(8, axis=0)
    Image.fromarray(stripes).save(path)
    return path


def extractor():
    """Features in closed form: the four quarters' means, times a weight."""
    stage = classifier()

    def read(weights, images):
        return weights.params["model"] * images.reshape(len(images), 2, 4, 2, 4).mean((2, 4)).reshape(len(images), -1)

    family = stage.family._replace(interface=FeatureExtractor(read, (8, 8, 1), 4))
    return stage._replace(family=family, weights=Weights({"model": jnp.float32(2.0)}, (), {}))


def sampled(stage, *weights):
    """Eight images of a stage; or, compiled once, those with each of some weights."""
    sample = jax.jit(stage.family.interface.sample)
    images = [sample(each, Conditions(), jnp.arange(8), KEY).images for each in weights or [stage.weights]]
    return images if weights else images[0]


@functools.cache
def unguided(sampler):
    """(stage, its images), for the guides' tests."""
    stage = model(sampler, num_steps=20, threshold="static")
    return stage, sampled(stage)


@pytest.mark.parametrize(
    ("kind", "scale", "sampler"),
    [
        (image, 100.0, "ancestral"),
        (style, 2e4, "ddim"),
        pytest.param(image, 100.0, "ddim", marks=pytest.mark.slow),
        pytest.param(style, 2e4, "ancestral", marks=pytest.mark.slow),
    ],
)
def test_samples_come_nearer_to_the_reference(one_image, kind, scale, sampler):
    stage, before = unguided(sampler)
    name = kind.__name__.rpartition(".")[2]
    guide = registry.make(f"{name}:{one_image}:{scale}", stage)
    none = guide._replace(inputs=(guide.inputs[0], jnp.float32(0)))
    guided = [registry.guide(stage, [each]) for each in (guide, none)]
    after, still = sampled(guided[0], *(each.weights for each in guided))
    distances = [np.asarray(kind.energy(guide.inputs[0], images)) for images in (before, after)]
    assert distances[1].mean() < 0.6 * distances[0].mean(), distances
    np.testing.assert_allclose(still, before, atol=1e-5)


def test_the_energy_of_features_is_half_their_mean_squared_difference(monkeypatch):
    seen = []
    monkeypatch.setattr(energies, "make", lambda *given: seen.append(given) or registry.Guide(len, ()))
    wanted, *images = np.random.default_rng(0).uniform(-1, 1, (4, 1, 8, 8, 1)).astype(np.float32)
    features.from_stage(extractor(), jnp.asarray(wanted), 20.0, unguided("ddim")[0])
    ((energy, arrays, scale, _),) = seen
    away = [2 * (one - wanted).reshape(2, 4, 2, 4).mean((1, 3)) for one in images]
    found = energy(arrays, jnp.concatenate(images))
    np.testing.assert_allclose(found, [0.5 * np.square(one).mean() for one in away], rtol=1e-5)
    assert scale == 20.0


def test_features_of_a_run(one_image):
    (stage, before), wanted = unguided("ddim"), jnp.ones((1, 8, 8, 1))
    guide = features.from_stage(extractor(), wanted, 20.0, stage)
    assert sampled(registry.guide(stage, [guide])).mean() > before.mean() + 0.2
    with pytest.raises(ValueError, match="gives features.*one of the family 'noisy_classifier'"):
        features.from_stage(classifier(), wanted, 1.0, stage)
    with pytest.raises(ValueError, match="write features:WORKDIR,IMAGE:SCALE"):
        registry.make(f"features:{image}:1.0", stage)
    with pytest.raises(ValueError, match="nowhere is not a workdir"):
        registry.make(f"features:/nowhere,{image}:1.0", stage)


def test_files_that_are_none(tmp_path):
    with pytest.raises(OSError):
        registry.make(f"image:{tmp_path / 'none.png'}:1.0", model())
    with pytest.raises(ValueError, match="can't be guided"):
        registry.make(f"style:{tmp_path / 'none.png'}:1.0", classifier())
