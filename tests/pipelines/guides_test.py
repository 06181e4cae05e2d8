"""Guides from outside on a diffusion model: what they change, what compiles anew, and what is refused.

Stages are made by hand: nothing is trained here.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate, sharding
from genjax.configs import classifier_digits, ddpm_digits
from genjax.configs.recipes import dits
from genjax.diffusion import schedules
from genjax.families import registry as families
from genjax.families.interfaces import Conditions, NoisyClassifier, Weights
from genjax.pipelines.guides import classifier as classifier_guide
from genjax.pipelines.guides import registry
from genjax.stages import Stage
from genjax.typing import DataSpec
from tests.families import perturbed

SPEC = DataSpec((8, 8, 1), num_classes=10, class_names=tuple("0123456789"))
KEY = jax.random.key(0)


def make_stage(config, spec, scale):
    """A stage whose weights are normal numbers times `scale`."""
    family = families.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)
    batch = {"image": jnp.zeros((1, *spec.image_shape)), "label": jnp.zeros(1, int)}
    return Stage(family, perturbed.noise(family, batch, scale), config, spec, 0)


def model(sampler="ancestral", conditional=False, threshold="none", num_steps=5):
    """Of data N(0, 1): a network that says v = 0, as one with no weights does, denoises that exactly."""
    config = ddpm_digits.get_config("tiny")
    config.model.update(conditional=conditional, label_dropout=0.0)
    config.model.parameterization.name = "v"
    dits.network(config, width=8, depth=1, num_heads=1, patch_size=4)
    config.sampling.sampler.name = sampler
    config.sampling.threshold.name = threshold
    config.sampling.num_steps = str(num_steps)
    return make_stage(config, SPEC, 0.0)


def classifier(spec=SPEC, schedule=None):
    config = classifier_digits.get_config("tiny")
    config.model.network.update(channel_mult=(1,), attention_resolutions=())
    if schedule is not None:
        config.model.schedule = schedule
    return make_stage(config, spec, 0.3)


def observer():
    """A stage of a classifier in closed form: label k says that the mean pixel was seen as targets[k] +- 1/8.

    The mean of 64 pixels N(0, 1) is N(0, 1/64), so the posterior's is N(targets[k] / 2, 1/128).
    """
    schedule = schedules.cosine()

    def log_prob(weights, x_t, t, label):
        level = schedule(t)
        gap = weights.params["model"][label] - level.alpha * x_t.mean((1, 2, 3))
        return -0.5 * jnp.square(gap) / (jnp.square(level.sigma) / 64 + 1 / 64)

    stage = classifier()
    interface = NoisyClassifier(log_prob, (8, 8, 1), 10, schedule)
    weights = Weights({"model": jnp.linspace(-2.0, 2.0, 10)}, (), {})
    return stage._replace(family=stage.family._replace(interface=interface), weights=weights)


def conditions(labels):
    labels = jnp.asarray(labels)
    return (Conditions(label=labels), jnp.arange(len(labels)))


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_guidance_moves_each_image_towards_its_label(sampler):
    """Not at all with scale 0, halfway with 1, further with 4."""
    stage = model(sampler, num_steps=100)

    def guided(scale):
        return registry.guide(stage, [classifier_guide.from_stage(observer(), scale, stage)])

    sample, weights = jax.jit(guided(0.0).family.interface.sample), [guided(scale).weights for scale in (0.0, 1.0, 4.0)]
    requested = conditions([0, 9, 0, 9])  # targets -2 and 2
    images = [sample(each, *requested, KEY).images for each in weights]
    plain = jax.jit(stage.family.interface.sample)(stage.weights, *requested, KEY).images
    np.testing.assert_allclose(images[0], plain, atol=2e-4)
    moved = [(image - plain).mean((1, 2, 3)) * np.array([-1, 1, -1, 1]) for image in images]
    np.testing.assert_allclose(moved[1], 1.0, atol=0.15)
    assert (moved[2] > moved[1] + 0.1).all()
    other = sample(weights[1], *conditions([0, 4, 0, 9]), KEY).images
    changed = np.abs(other - images[1]).max((1, 2, 3))
    assert changed[1] > 0.1 and changed[[0, 2, 3]].max() < 1e-3


def test_scales_labels_and_weights_compile_once():
    stage, classifier_stage = model(), observer()
    chex.clear_trace_counter()
    one = registry.guide(stage, [classifier_guide.from_stage(classifier_stage, 1.0, stage)])
    assert one.family.interface.num_classes == 10, "the unconditional model takes the classifier's labels"
    counted = one.interface._replace(
        sample=chex.assert_max_traces(lambda *inputs: one.family.interface.sample(*inputs), n=1)
    )
    draw = generate.make_generate(counted, sharding.make_mesh())
    other = jax.tree.map(lambda leaf: 2 * leaf, classifier_stage.weights)
    for scale, label, weights in (
        (1.0, 3, classifier_stage.weights),
        (2.5, 7, classifier_stage.weights),
        (2.5, 7, other),
    ):
        guide = classifier_guide.from_stage(classifier_stage._replace(weights=weights), scale, stage)
        guided = registry.guide(stage, [guide])
        labels = Conditions(label=np.full(8, label, np.int32))
        assert draw(guided.weights, 8, labels, KEY, 8).images.shape == (8, 8, 8, 1)


def test_guides_add_up_after_thresholding():
    """The hook itself, with guides of another kind: they see thresholded estimates, their inputs and the mode, and
    none sees what the others pull."""
    seen = []

    def pull(inputs, conditions, mode):
        seen.append(mode)

        def guide(denoise):
            def guided(x_t, level, key):
                prediction = denoise(x_t, level, key)
                assert prediction.mean_grad is None
                jax.debug.callback(lambda x0: seen.append(x0), prediction.x0)
                return prediction._replace(mean_grad=inputs["x"] * jnp.ones_like(prediction.x0))

            return guided

        return guide

    stage = model(threshold="static")
    images = []
    for numbers in ((2.0, 3.0), (5.0,)):
        guides = [registry.Guide(pull, {"x": jnp.float32(x)}) for x in numbers]
        guided = registry.guide(stage, guides)
        draw = jax.jit(guided.family.interface.sample)
        images.append(jax.block_until_ready(draw(guided.weights, Conditions(), jnp.arange(1), KEY)).images)
    jax.effects_barrier()
    assert seen[:2] == ["mean", "mean"] and len(seen) == 3 + 2 * 5 + 5
    assert all(np.abs(x0).max() <= 1.0 for x0 in seen if not isinstance(x0, str))
    np.testing.assert_allclose(*images, atol=1e-5)
    assert guided.family.interface.num_classes == 0
    with pytest.raises(ValueError, match="guided already|can't be guided"):
        registry.guide(guided, guides)


def test_no_guides_is_the_stage_itself():
    stage = model()
    assert registry.guide(stage, []) is stage


@pytest.mark.parametrize(
    ("classifier_stage", "guided", "words"),
    [
        (lambda: model(), model, "family 'diffusion'; .*needs the workdir of a noisy_classifier"),
        (lambda: classifier(), classifier, "family 'noisy_classifier' can't be guided"),
        (
            lambda: classifier(SPEC._replace(image_shape=(16, 16, 1))),
            model,
            r"images of \(16, 16, 1\).* the model draws \(8, 8, 1\)",
        ),
        (lambda: classifier(schedule={"name": "linear_beta", "num_steps": 1000}), model, "another noising process"),
        (lambda: classifier(schedule={"name": "cosine", "num_steps": 500}), model, "'num_steps': 500.*'cosine'"),
        (lambda: classifier(schedule={"name": "flow"}), model, "another noising process"),
        (lambda: classifier(SPEC._replace(num_classes=7)), lambda: model(conditional=True), "7 classes.*10"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(classifier_stage, guided, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        classifier_guide.from_stage(classifier_stage(), 1.0, guided())


def test_schedules_are_compared_by_value():
    """Defaults that one config spells out and the other doesn't are no difference."""
    classifier_stage = classifier(schedule={"name": "cosine", "num_steps": 1000, "s": 0.008})
    classifier_guide.from_stage(classifier_stage, 1.0, model())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classifier", "can't be read; write NAME:ARGUMENT:SCALE"),
        ("classifier:runs/c", "can't be read"),
        ("classifier:runs/c:strong", "scale 'strong' is no number"),
        ("classifier:runs/c:nan", "scale 'nan' is no number"),
        ("magic:runs/c:1.0", "NAME is one of classifier"),
        ("classifier:/no/such/run:1.0", "/no/such/run is not a workdir"),
        ("classifier:gs://no/run:1.0", "gs:// isn't supported"),
    ],
)
def test_texts_that_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        registry.make(text, model())
