"""Samplers, guides and edits meet in any combination: one scan, and one compilation for all their values.

Models and classifiers are in closed form or of random weights: nothing is trained here.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import ddpm_digits
from genjax.configs.recipes import dits
from genjax.diffusion import samplers
from genjax.families.interfaces import Conditions
from genjax.pipelines.guides import classifier as classifier_guide
from genjax.pipelines.guides import energies, features, image, registry, style
from tests.pipelines.energies_test import extractor
from tests.pipelines.guides_test import KEY, SPEC, make_stage, observer

COUNT = 3
SAMPLERS = ("ancestral", "ddim", "euler", "heun", "dpmpp_2m", "dpmpp_sde")
CHURN = {"euler": {"churn": 2.0}, "heun": {"churn": 2.0}, "ddim": {"eta": 0.5}}


def model(sampler, resamples=1):
    """A network of random weights that is quick to compile, conditional, with a null class."""
    config = ddpm_digits.get_config("tiny")
    dits.network(config, width=8, depth=1, num_heads=1, patch_size=4)
    config.sampling.update(num_steps="ddim4", resamples=resamples)
    config.sampling.sampler.update(name=sampler, **CHURN.get(sampler, {}))
    return make_stage(config, SPEC, 0.1)


def pulls(stage, scale, seed):
    """One guide of each kind, by name; of reference images drawn with the seed."""
    one_image, other = jax.random.uniform(jax.random.key(seed), (2, 1, 8, 8, 1), minval=-1.0)
    return {
        "classifier": classifier_guide.from_stage(observer(), scale, stage),
        "image": energies.make(image.energy, image.perceptual.low_pass(one_image, image.FACTOR), 10 * scale, stage),
        "style": energies.make(style.energy, style.target(other), 100 * scale, stage),
        "features": features.from_stage(extractor(), one_image, scale, stage),
    }


def requested(seed, inpaint=True):
    """Conditions of some values, and indices: labels, a scale without a classifier, and what is known where."""
    draw = np.random.default_rng(seed)
    label, scale = jnp.asarray(draw.integers(0, 10, COUNT)), {"guidance_scale": jnp.float32(1.5 + seed)}
    known = draw.uniform(-1, 1, (COUNT, 8, 8, 1)).astype(np.float32)
    mask = draw.integers(0, 2, (COUNT, 8, 8, 1)).astype(np.float32)
    erased = {"known": jnp.asarray(known), "mask": jnp.asarray(mask)} if inpaint else {}
    return Conditions(label=label, options=scale, **erased), jnp.arange(COUNT) + seed


def jitted(guided):
    """Its sampling as one program, which may be traced once."""
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(lambda *inputs: guided.family.interface.sample(*inputs), n=1))


def scans(program):
    """Lengths of the scans of a traced program."""
    return [equation.params["length"] for equation in program.jaxpr.eqns if equation.primitive.name == "scan"]


ALONE = ("ancestral", "dpmpp_2m")
"""One that adds gradients to the mean, and one that adds them to the score: guides one by one, by default."""


@pytest.mark.parametrize(
    ("sampler", "alone"),
    [
        *(pytest.param(name, False, marks=pytest.mark.slow if name in ("euler", "ddim") else []) for name in SAMPLERS),
        *(pytest.param(name, True, marks=[] if name in ALONE else pytest.mark.slow) for name in SAMPLERS),
    ],
)
def test_any_sampler_takes_each_guide_and_inpainting_in_one_scan(sampler, alone):
    """And all at once, traced once for other scales, labels, masks and reference images; nothing is compiled."""
    stage = model(sampler)
    kinds = pulls(stage, 1.0, 0), pulls(stage, 0.3, 1)
    if not alone:
        unguided = jax.jit(stage.family.interface.sample)
        assert scans(unguided.trace(stage.weights, *requested(0, inpaint=False), KEY)) == [4]
    for chosen in [[name] for name in kinds[0]] if alone else [list(kinds[0])]:
        first, second = (registry.guide(stage, [kind[name] for name in chosen]) for kind in kinds)
        draw = jitted(first)
        assert scans(draw.trace(first.weights, *requested(0), KEY)) == [4], chosen
        draw.trace(second.weights, *requested(1), jax.random.key(1))


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=[] if name == "dpmpp_2m" else pytest.mark.slow) for name in SAMPLERS]
)
def test_all_guides_and_inpainting_at_once_draw_and_keep_what_is_known(sampler):
    """On RePaint's walk, compiled once; to the bit."""
    stage = model(sampler, resamples=2)
    first = registry.guide(stage, list(pulls(stage, 1.0, 0).values()))
    draw, drawn = jitted(first), []
    for seed, scale in enumerate((1.0, 0.3)):
        weights = registry.guide(stage, list(pulls(stage, scale, seed).values())).weights
        conditions, index = requested(seed)
        images = draw(weights, conditions, index, KEY).images
        kept = np.asarray(conditions.mask > 0)
        np.testing.assert_array_equal(images[kept], conditions.known[kept])
        assert np.isfinite(images).all()
        drawn.append(images)
    assert np.abs(drawn[0] - drawn[1]).max() > 0.1


def test_all_samplers_are_here():
    assert set(SAMPLERS) == set(samplers._MAKERS)


@pytest.mark.parametrize("sampler", ["ancestral", pytest.param("ddim", marks=pytest.mark.slow)])
def test_a_guided_image_does_not_depend_on_its_batch(sampler):
    """The gradient of a summed energy is each example's own: the same alone and among others."""
    stage = model(sampler)
    guided = registry.guide(stage, list(pulls(stage, 1.0, 0).values()))
    draw, together = jax.jit(guided.family.interface.sample), requested(0)
    alone = jax.tree.map(lambda value: value[1:2] if value.ndim else value, together)
    many, one = (draw(guided.weights, *conditions, KEY).images for conditions in (together, alone))
    np.testing.assert_allclose(one[0], many[1], atol=1e-4)
    assert np.abs(many[0] - many[1]).max() > 0.1
