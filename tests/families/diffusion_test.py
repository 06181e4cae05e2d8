"""The diffusion family: what its loss and its samples depend on, and what compiles anew."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate, sharding
from genjax.configs import ddpm_digits
from genjax.configs.recipes import dits
from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.requested import conditions_of

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)


def build(spec=SPEC, sampling=(), **model):
    config = ddpm_digits.get_config("tiny")
    dits.network(config, width=8, depth=1, num_heads=1)
    config.model.update(model)
    config.sampling.update(dict(sampling))
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)


def batch(count=8):
    image = jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count) % 10}


def random_params(family):
    weights = perturbed.weights(family, batch(1))
    return weights.params, weights.extra


@pytest.fixture(scope="module")
def plain():
    """(the family of the config, weights with nothing left at zero, its sampling compiled)."""
    family = build()
    return family, Weights(*random_params(family), {}), jax.jit(family.interface.sample)


def loss_of(family, params, extra, **changes):
    return losses.jitted(family, params, batch() | changes.pop("batch", {}), KEY, extra=extra)


def conditions(count, **others):
    return conditions_of(label=jnp.arange(count) % 10, **others), jnp.arange(count)


def test_untrained_loss_is_the_variance_of_eps():
    """The last layer starts at zero, so the eps network predicts 0, whose squared error is 1 on average."""
    family = build()
    params, extra = jax.jit(family.init)(KEY, batch(1))
    found = loss_of(family, params, extra, batch={"image": jnp.zeros((512, 8, 8, 1)), "label": jnp.zeros(512, int)})
    assert found.value == pytest.approx(1.0, abs=0.03)
    assert found.extra == ()


def test_loss_depends_on_labels_only_when_conditional_and_not_dropped(plain):
    _, (params, *_), _ = plain
    for model, same in (({}, False), ({"label_dropout": 1.0}, True), ({"conditional": False}, True)):
        family = build(**model)
        loss = jax.jit(lambda label: losses.compute(family, params, batch() | {"label": label}, KEY).value)  # noqa: B023
        values = [loss((jnp.arange(8) + shift) % 10) for shift in (0, 3)]
        assert bool(jnp.array_equal(*values)) == same, model


def test_learned_variance_doubles_the_channels_and_reports_its_parts():
    family = build(learned_variance=True, sampling={"sampler": {"name": "ancestral"}})
    params, extra = random_params(family)
    assert params["model"]["pixels"]["kernel"].shape[-1] == 2 * 2 * 2
    found = loss_of(family, params, extra)
    assert found.value == pytest.approx(float(found.metrics["simple"] + found.metrics["vb"]), rel=1e-5)
    drawn = jax.eval_shape(family.interface.sample, Weights(params, extra, {}), *conditions(2), KEY)
    assert drawn.images.shape == (2, 8, 8, 1)


@pytest.mark.slow
def test_the_variational_objective_trains_the_mean_too_and_sums_to_the_bound():
    """L_vlb / T at each step, added up over all steps, is the bound without its prior, up to the noise drawn."""
    family = build(
        objective="variational",
        learned_variance=True,
        schedule={"name": "cosine", "num_steps": 4},
        sampling={"num_steps": "4", "sampler": {"name": "ancestral"}, "threshold": {"name": "none"}},
    )
    params, extra = random_params(family)
    examples = jax.tree.map(lambda x: jnp.repeat(x[:1], 4096, axis=0), batch())
    examples["image"] = jnp.round((examples["image"] + 1) * 127.5) / 127.5 - 1
    found = loss_of(family, params, extra, batch=examples)
    bits = jax.jit(family.interface.likelihoods["bound"])(Weights(params, extra, {}), examples, KEY)
    terms = np.asarray(bits["bits_per_dim"] - bits["prior_bits"])
    assert found.metrics == {} and float(found.value) * 4 == pytest.approx(terms.mean(), rel=0.03)
    gradient = losses.gradient(family, params, batch(), KEY, extra=extra)
    assert all(float(jnp.abs(part).max()) > 0 for part in gradient["pixels"]["kernel"].reshape(-1, 2).T)


def test_unknown_objective():
    with pytest.raises(ValueError, match="unknown objective 'l2'; config.model.objective is one of"):
        build(objective="l2")


def test_guidance_scale_one_is_no_guidance_and_scale_zero_is_the_null_class(plain):
    _, weights, sample = plain
    free = sample(weights, *conditions(6), KEY).images
    null = sample(weights, Conditions(label=jnp.full(6, 10)), jnp.arange(6), KEY).images
    one, none = (sample(weights, *conditions(6, guidance_scale=scale), KEY).images for scale in (1.0, 0.0))
    np.testing.assert_allclose(one, free, atol=2e-5)
    np.testing.assert_allclose(none, null, atol=2e-5)
    assert jnp.abs(free - null).max() > 1e-2


def check_that_an_image_depends_on_its_index_alone(weights, sample):
    """Sample 4 among others, in another place."""
    many = sample(weights, *conditions(6), KEY).images
    index = jnp.array([4, 11, 7, 23, 9, 30])
    others = sample(weights, Conditions(label=index % 10), index, KEY).images
    np.testing.assert_allclose(others[0], many[4], atol=1e-4)
    assert jnp.abs(many[0] - many[1]).max() > 1e-2 and jnp.abs(others[4] - many[4]).max() > 1e-2


def test_an_image_depends_on_its_index_alone(plain):
    check_that_an_image_depends_on_its_index_alone(*plain[1:])


@pytest.mark.parametrize(
    "sampler", [{"name": "ancestral"}, pytest.param({"name": "heun", "churn": 4.0}, marks=pytest.mark.slow)]
)
def test_noise_that_a_sampler_adds_depends_on_the_index_alone(plain, sampler):
    family = build(sampling={"sampler": sampler})
    check_that_an_image_depends_on_its_index_alone(plain[1], jax.jit(family.interface.sample))


def test_generate_compiles_once_for_seeds_scales_and_labels(plain):
    family, weights, _ = plain
    chex.clear_trace_counter()
    counted = family.interface._replace(
        sample=chex.assert_max_traces(lambda *inputs: family.interface.sample(*inputs), n=1)
    )
    draw = generate.make_generate(counted, sharding.make_mesh())
    for seed in range(2):
        for scale in (1.5, 4.0):
            for label in (0, 7):
                conditions = Conditions(label=np.full(20, label, np.int32), options={"guidance_scale": scale})
                images = draw(weights, 20, conditions, jax.random.key(seed), 16)
                assert images.images.shape == (20, 8, 8, 1)


def test_trajectory_ends_in_the_image(plain):
    _, weights, sample = plain
    samples = sample(weights, *conditions(6), KEY)
    assert samples.trajectory.shape == (5, 6, 8, 8, 1)
    np.testing.assert_array_equal(samples.trajectory[-1], samples.images)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": DataSpec((8, 8, 1))}, "needs data with class labels"),
        ({"network": {"name": "perceptron"}}, "unknown network 'perceptron'"),
        ({"colour": "red"}, r"unknown \['colour'\]"),
        ({"sampling": {"threshold": {"name": "soft"}}}, "unknown threshold 'soft'"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        family = build(**changes)
        family.interface.sample(Weights({"model": {}}, (), {}), *conditions(1), KEY)


def test_guidance_of_a_model_without_null_class_is_refused():
    family = build(label_dropout=0.0)
    with pytest.raises(ValueError, match="label_dropout > 0"):
        family.interface.sample(Weights({"model": {}}, (), {}), *conditions(1, guidance_scale=2.0), KEY)


def test_unknown_family():
    with pytest.raises(ValueError, match="unknown family 'painting'; .*diffusion"):
        registry.build("painting", {}, {}, SPEC)


@pytest.mark.parametrize("name", ["eps", "edm"])
@pytest.mark.parametrize(
    "schedule", [{"name": "flow"}, {"name": "from_betas", "betas": (0.01, 0.1, 0.2, 0.3, 0.5, 1.0)}]
)
def test_what_divides_by_no_data_at_the_noisiest_time_is_refused(schedule, name):
    kind = schedule["name"]
    words = rf"parameterization.name='{name}' doesn't go with .*schedule.name='{kind}': it divides by 0.*alpha=0 and.*"
    model = {"schedule": schedule, "parameterization": {"name": name}}
    words += r"choose one of \['flow', 'v', 'x0'\]" + ".*t_max=0.999" * (kind == "flow")
    with pytest.raises(ValueError, match=words):
        build_of(model)
    for other in ("flow", "v", "x0"):
        build_of(model | {"parameterization": {"name": other}})


def build_of(model):
    """A family of these pieces in place of the config's."""
    config = ddpm_digits.get_config("tiny")
    return registry.build(config.family, config.model.to_dict() | model, config.sampling.to_dict(), SPEC)
