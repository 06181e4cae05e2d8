"""The distillation family: where a student starts, what it learns from, who can teach."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import consistency_digits, edm_digits, progressive_digits, reflow_digits
from genjax.configs.recipes import dits
from genjax.core import tree as tree_lib
from genjax.core.numerics import expand_to
from genjax.diffusion import distillation, grids, process, samplers, schedules
from genjax.diffusion.denoisers import Prediction
from genjax.families import registry
from genjax.families.interfaces import Conditions, Distillable, ImageSampler, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.recorder import keys_equal, stream
from tests.families.recorder import unrolled as unrolled

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
STUDENTS = {"consistency": consistency_digits, "progressive": progressive_digits, "reflow": reflow_digits}


def batch(count=8):
    image = jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count) % 10}


def conditions(count):
    return Conditions(label=jnp.arange(count) % 10), jnp.arange(count)


def make_teacher(module=edm_digits):
    """(family, weights) of a small diffusion model with nothing left at zero, that draws by DDIM."""
    config = module.get_config("tiny")
    dits.network(config, width=8, depth=1, num_heads=1)
    config.sampling.update(sampler={"name": "ddim"}, num_steps="karras4", trajectory=False)
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), SPEC)
    return family, perturbed.weights(family, batch(1))


def make_toy(schedule):
    """(family, weights) of a network of two parameters, that a label and a guidance scale pull at."""

    def denoiser(params, conditions):
        def denoise(x, level, key):
            pull = params["bias"][conditions.label] * conditions.options.get("guidance_scale", 1.0)
            alpha, sigma = level.expand(x)
            x0 = jnp.tanh(params["kernel"] * x / jnp.hypot(alpha, sigma) + expand_to(pull, x))
            return Prediction(x0, process.eps_from_x0(x, x0, level))

        return denoise

    def init(key, batch):
        return {"kernel": jnp.full((1,), 0.7), "bias": jnp.linspace(-1.0, 1.0, 10)}

    can_teach = Distillable(schedule, init, lambda weights: weights.params["model"], denoiser)
    family = SimpleNamespace(interface=ImageSampler(lambda *_: None, (8, 8, 1), 10, distillable=can_teach))
    return family, Weights({"model": init(KEY, batch(1))}, (), {})


@pytest.fixture(scope="module")
def teacher():
    return make_toy(schedules.edm())


def make_student(teacher, name="progressive", spec=SPEC, objective=(), **model):
    config = STUDENTS[name].get_config("tiny")
    config.model.objective.update(dict(objective))
    config.sampling.update(clip=False, num_steps=model.pop("num_steps", config.sampling.num_steps))
    config.model.update(model)
    parents = {"teacher": teacher[0].interface} if teacher else {}
    return registry.build("distillation", config.model.to_dict(), config.sampling.to_dict(), spec, parents)


def fresh(family, teacher):
    params, extra = jax.jit(family.init)(KEY, batch(1))
    return Weights(params, extra, {"teacher": teacher[1]})


def loss_of(family, weights, data=None):
    return losses.jitted(family, weights.params, data or batch(), KEY, extra=weights.extra, frozen=weights.frozen)


def gradient_of(family, weights):
    return losses.gradient(family, weights.params, batch(), KEY, extra=weights.extra, frozen=weights.frozen)


def moved(weights, by=0.02):
    return weights._replace(params=jax.tree.map(lambda leaf: leaf + by, weights.params))


def draw(family, weights, count=6):
    return jax.jit(family.interface.sample)(weights, *conditions(count), KEY).images


def test_a_fresh_student_is_its_teacher():
    """The same names, and the same images by the same steps."""
    teacher = make_teacher()
    student = make_student(teacher, objective={"num_steps": 2}, grid="karras4")
    weights = fresh(student, teacher)
    assert tree_lib.param_paths(weights.params) == tree_lib.param_paths(teacher[1].params)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(weights.params))
    shown, sample = draw(*teacher), jax.jit(student.interface.sample)
    np.testing.assert_allclose(sample(weights, *conditions(6), KEY).images, shown, atol=1e-4)
    assert jnp.abs(sample(moved(weights), *conditions(6), KEY).images - shown).max() > 1e-2


@pytest.mark.parametrize("name", STUDENTS)
def test_training_changes_all_that_the_output_depends_on(name):
    teacher = make_toy(schedules.flow() if name == "reflow" else schedules.edm())
    student = make_student(teacher, name)
    weights = fresh(student, teacher)
    examples = batch(2000)
    found = loss_of(student, weights, examples)
    assert found.value > 1e-6 and found.metrics == {}
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(gradient_of(student, weights)))
    other = {**examples, "label": (examples["label"] + 3) % 10}
    assert loss_of(student, weights, other).value != found.value, "labels matter"
    held_out = jax.jit(student.evaluate)(weights, examples, KEY)["loss"]
    assert held_out.shape == (2000,)
    if name != "reflow":  # the velocity of a network that predicts x0 has no mean square
        assert held_out.mean() == pytest.approx(float(found.value), rel=0.2)


def test_an_image_depends_on_its_index_alone(teacher):
    student = make_student(teacher, "consistency")
    weights = moved(fresh(student, teacher))
    sample, index = jax.jit(student.interface.sample), jnp.array([4, 11, 7, 23, 9, 30])
    many = sample(weights, *conditions(6), KEY).images
    others = sample(weights, Conditions(label=index % 10), index, KEY).images
    np.testing.assert_allclose(others[0], many[4], atol=1e-4)
    assert jnp.abs(many[0] - many[1]).max() > 1e-2


def test_the_target_follows_the_student(teacher):
    """A moving average of the parameters, and what the loss compares with: not the student as it is."""
    student = make_student(teacher, "consistency", objective={"target_decay": 0.9})
    weights = moved(fresh(student, teacher))
    found = loss_of(student, weights)
    jax.tree.map(lambda leaf: np.testing.assert_allclose(leaf, 0.1 * 0.02, rtol=1e-4), found.extra)
    caught_up = weights._replace(extra=weights.params["model"])
    assert loss_of(student, caught_up).value != found.value
    plain = make_student(teacher, "consistency", objective={"target_decay": 0.0})
    same = loss_of(plain, caught_up._replace(extra=())).value
    np.testing.assert_allclose(same, loss_of(student, caught_up).value)


def test_consistency_training_asks_the_teacher_nothing(teacher):
    """Another teacher with the same sum of parameters gives the same loss; distilled, it doesn't."""
    for solver, same in (("none", True), ("heun", False)):
        student = make_student(teacher, "consistency", objective={"solver": solver, "target_decay": 0.0})
        weights = moved(fresh(student, teacher))
        shifted = teacher[1]._replace(params=jax.tree.map(lambda leaf: leaf + 0.02, teacher[1].params))
        other = weights._replace(params=moved(weights, -0.02).params, frozen={"teacher": shifted})
        values = [loss_of(student, w).value for w in (weights, other)]
        assert bool(np.allclose(*values, rtol=1e-4)) == same, solver


class Parent:
    """A teacher whose denoisers say what they are: who asks, with which parameters and conditions, at which levels."""

    def __init__(self, classes=10):
        self.made, self.calls, schedule = [], [], schedules.cosine(20)
        self.offer = Distillable(schedule, lambda key, batch: {"w": jnp.ones(3)}, self.params, self.denoiser)
        self.family = SimpleNamespace(
            interface=ImageSampler(lambda *_: None, (8, 8, 1), classes, distillable=self.offer)
        )

    def params(self, weights):
        return weights.params["model"]

    def denoiser(self, params, conditions):
        self.made.append((params["w"], conditions))

        def denoise(x, level, key):
            self.calls.append((x, level, key))
            x0 = 2.0 * params["w"][0] + 0.1 * x
            return Prediction(x0, process.eps_from_x0(x, x0, level))

        denoise.made = self.made[-1]
        return denoise


OBJECTIVE = {"name": "progressive", "num_steps": 2, "weight": {"name": "x0"}}
HELD = {"teacher": Weights({"model": {"w": jnp.array([5.0, 6.0, 7.0])}}, (), {})}
OWN, BEHIND = {"w": jnp.array([0.1, 0.2, 0.3])}, {"w": jnp.array([-1.0, 0.0, 1.0])}


def recorded(monkeypatch, decay, classes=10, estimate=None, **settings):
    """(a family whose objective keeps what it is given and gives 0, 1, 2, .., its teacher, what was given)."""
    parent, given = Parent(classes), []

    def loss(*inputs):
        given.append(inputs)
        return jnp.arange(float(len(inputs[3])))

    def make(**requested):
        given.append(requested)
        walk = lambda steps: (samplers.ancestral(), grids.respace(schedules.cosine(20), steps))  # noqa: E731
        return distillation.Distillation(loss, walk, estimate, decay)

    monkeypatch.setattr(distillation, "make", make)
    model = {"objective": OBJECTIVE, "grid": "10", "guidance_scale": 3.0} | settings.pop("model", {})
    sampling = {"num_steps": "4", "clip": False} | settings
    return registry.build("distillation", model, sampling, SPEC, {"teacher": parent.family.interface}), parent, given


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_student_target_and_teacher_are_who_they_should_be(monkeypatch, decay):
    """The guided teacher as it was, the student moved by its own parameters, the target by their moving average."""
    family, parent, given = recorded(monkeypatch, decay)
    assert given[0] == {"schedule": parent.offer.schedule, "grid": "10", **OBJECTIVE}
    params, extra = family.init(KEY, batch())
    np.testing.assert_array_equal(params["model"]["w"], np.zeros(3))
    assert (extra == ()) == (decay == 0) and (decay == 0 or not extra["w"].any())
    extra = BEHIND if decay else ()
    found = losses.compute(family, {"model": OWN}, batch(), KEY, extra=extra, frozen=HELD)
    student, target, teacher, x0, key = given[1]
    label = batch()["label"]
    start = np.array([5.0, 6.0, 7.0])
    for denoise, by, scale in ((student, OWN, {}), (target, BEHIND if decay else OWN, {}), (teacher, None, 3.0)):
        weights, conditions = denoise.made
        np.testing.assert_allclose(weights, start + (0 if by is None else by["w"]), rtol=1e-6)
        np.testing.assert_array_equal(conditions.label, label)
        assert conditions.options.get("guidance_scale", {}) == scale and len(conditions.options) == (scale != {})
        assert conditions._replace(label=None, options={}) == Conditions()
    np.testing.assert_array_equal(x0, batch()["image"])
    assert keys_equal(key, KEY) and found.value == 3.5 and found.metrics == {}
    if decay:
        np.testing.assert_allclose(found.extra["w"], 0.75 * BEHIND["w"] + 0.25 * OWN["w"], rtol=1e-6)
    else:
        assert found.extra == ()


def test_the_target_is_held_fast_and_the_student_learns(monkeypatch):
    """Also where the target is the student as it is."""
    family, *_ = recorded(monkeypatch, 0.0)
    distance = lambda student, target, teacher, x0, key: (  # noqa: E731
        student(x0, schedules.cosine(20)(3.0), key).x0 - target(x0, schedules.cosine(20)(3.0), key).x0
    ).sum((1, 2, 3)) + 2 * target(x0, schedules.cosine(20)(3.0), key).x0.sum((1, 2, 3))  # fmt: skip
    make = distillation.make
    monkeypatch.setattr(distillation, "make", lambda **requested: make(**requested)._replace(loss=distance))
    parent = Parent()
    model = {"objective": OBJECTIVE, "grid": "10"}
    held = registry.build("distillation", model, {"num_steps": "4"}, SPEC, {"teacher": parent.family.interface})
    gradient = losses.gradient(held, {"model": OWN}, batch(), KEY, frozen=HELD)
    np.testing.assert_allclose(gradient["w"], [2.0 * 64, 0, 0], rtol=1e-5)


def test_evaluation_is_against_the_student_itself_and_labels_only_where_there_are_classes(monkeypatch):
    family, parent, given = recorded(monkeypatch, 0.75, classes=0, model={"guidance_scale": 1.0})
    found = family.evaluate(Weights({"model": OWN}, BEHIND, HELD), batch(), KEY)
    student, target, teacher, _, key = given[1]
    np.testing.assert_array_equal(found["loss"], np.arange(8))
    assert keys_equal(key, stream(KEY, "loss"))
    for denoise, by in ((student, OWN["w"]), (target, OWN["w"]), (teacher, 0)):
        weights, conditions = denoise.made
        np.testing.assert_allclose(weights, np.array([5.0, 6.0, 7.0]) + by, rtol=1e-6)
        assert conditions == Conditions()


@pytest.mark.usefixtures("unrolled")
@pytest.mark.parametrize("clip", [True, False])
def test_a_student_draws_with_its_own_weights_what_is_estimated_of_it(monkeypatch, clip):
    """Unguided, from the noise of each sample's own key, along the walk of its steps."""
    index = jnp.array([4, 9])

    def estimate(denoise):
        def half(x, level, key):
            told = denoise(x, level, key)
            return Prediction(0.5 * told.x0, process.eps_from_x0(x, 0.5 * told.x0, level))

        return half

    family, parent, _ = recorded(monkeypatch, 0.0, estimate=estimate, clip=clip, trajectory=True)
    assert family.interface.distillable is None and family.interface.num_classes == 10
    weights = Weights({"model": OWN}, (), HELD)
    found = family.interface.sample(weights, Conditions(label=jnp.array([3, 1])), index, KEY)
    params, conditions = parent.made[-1]
    np.testing.assert_allclose(params, [5.1, 6.2, 7.3], rtol=1e-6)
    assert conditions._replace(label=None) == Conditions() and list(conditions.label) == [3, 1]
    levels = grids.respace(schedules.cosine(20), "4")
    assert [float(level.t) for _, level, _ in parent.calls] == list(levels.t[:-1])
    keys = [jax.random.fold_in(KEY, i) for i in index]
    noise = jnp.stack([jax.random.normal(jax.random.fold_in(key, 0), (8, 8, 1)) for key in keys])
    np.testing.assert_allclose(parent.calls[0][0], noise, rtol=1e-4)
    first = 0.5 * (2 * 5.1 + 0.1 * noise)
    mean = process.posterior(jnp.clip(first, -1, 1) if clip else first, noise, levels.at(0), levels.at(1))
    folded = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, 1), 0), 1) for key in keys]
    fresh = jnp.stack([jax.random.normal(key, (8, 8, 1)) for key in folded])
    np.testing.assert_allclose(found.trajectory[0], mean.mean + jnp.sqrt(mean.variance) * fresh, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.trajectory[-1], found.images)
    assert (float(found.images.max()) <= 1) == clip


def test_a_students_own_weights_are_what_the_next_round_starts_from(monkeypatch):
    family, parent, _ = recorded(monkeypatch, 0.0)
    teaches = family.interface.distillable
    np.testing.assert_allclose(teaches.params(Weights({"model": OWN}, (), HELD))["w"], [5.1, 6.2, 7.3], rtol=1e-6)
    assert teaches.schedule is parent.offer.schedule and teaches.denoiser == parent.offer.denoiser


def test_a_student_teaches_the_next_round(teacher):
    """It starts where the round before ended: at the sum of all differences."""
    first = make_student(teacher)
    weights = moved(fresh(first, teacher))
    second = make_student((first,), objective={"num_steps": 2})
    after = fresh(second, (first, weights))
    np.testing.assert_allclose(draw(second, after), draw(first, weights), atol=1e-5)
    third = make_student((second,), objective={"num_steps": 1})
    assert loss_of(third, fresh(third, (second, after))).value > 0


def test_refuses_who_can_not_teach(teacher):
    with pytest.raises(ValueError, match="--config.stages.teacher.workdir=DIR"):
        make_student(None)
    model = make_student(teacher, "consistency")
    with pytest.raises(ValueError, match="can't teach"):
        make_student((model,))
    with pytest.raises(ValueError, match=r"draws images \(8, 8, 1\)"):
        make_student(teacher, spec=DataSpec((16, 16, 1), 10))
    with pytest.raises(ValueError, match="knows 10 classes"):
        make_student(teacher, spec=DataSpec((8, 8, 1), 7))
    with pytest.raises(ValueError, match="can't be walked in 3"):
        make_student(teacher, num_steps="3")
    with pytest.raises(ValueError, match="num_steps='ddim25'.*no whole number"):
        make_student(teacher, num_steps="ddim25")


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("variant", ["", "tiny"])
def test_the_text_of_a_flag_takes_the_place_of_a_students_steps(name, variant):
    sampling = STUDENTS[name].get_config(variant).sampling
    sampling.num_steps = "2"
    assert sampling.num_steps == "2"
