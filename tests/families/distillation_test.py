"""The distillation family: where a student starts, what it learns from, who can teach."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import consistency_digits, dits, edm_digits, progressive_digits, reflow_digits
from genjax.core import tree as tree_lib
from genjax.core.numerics import expand_to
from genjax.diffusion import process, schedules
from genjax.diffusion.denoisers import Prediction
from genjax.families import registry
from genjax.families.base import Distillable, ImageSampler, LossInputs, Weights
from genjax.typing import DataSpec

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
STUDENTS = {"consistency": consistency_digits, "progressive": progressive_digits, "reflow": reflow_digits}


def batch(count=8):
    image = jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count) % 10}


def conditions(count):
    return {"index": jnp.arange(count), "label": jnp.arange(count) % 10}


def make_teacher(module=edm_digits):
    """(family, weights) of a small diffusion model with nothing left at zero, that draws by DDIM."""
    config = module.get_config("tiny")
    dits.network(config, width=8, depth=1, num_heads=1)
    config.sampling.update(sampler={"name": "ddim"}, num_steps="karras4", trajectory=False)
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), SPEC)
    params, extra = jax.jit(family.init)(KEY, batch(1))
    noise = np.random.default_rng(0)
    noisy = jax.tree.map(lambda leaf: leaf + 0.1 * noise.standard_normal(leaf.shape, np.float32), params)
    return family, Weights(noisy, extra, {})


def make_toy(schedule):
    """(family, weights) of a network of two parameters, that a label and a guidance scale pull at."""

    def denoiser(params, conditions):
        def denoise(x, level, key):
            pull = params["bias"][conditions["label"]] * conditions.get("guidance_scale", 1.0)
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


def loss_and_gradient(family, weights, key=KEY, data=None):
    inputs = LossInputs({}, weights.extra, weights.frozen, data or batch(), key, jnp.int32(0))
    return jax.jit(jax.value_and_grad(family.players[0].loss, has_aux=True))(weights.params["model"], inputs)


def moved(weights, by=0.02):
    return weights._replace(params=jax.tree.map(lambda leaf: leaf + by, weights.params))


def draw(family, weights, count=6):
    return jax.jit(family.sample)(weights, conditions(count), KEY).images


def test_a_fresh_student_is_its_teacher():
    """The same names, and the same pictures by the same steps."""
    teacher = make_teacher()
    student = make_student(teacher, objective={"num_steps": 2}, grid="karras4")
    weights = fresh(student, teacher)
    assert tree_lib.param_paths(weights.params) == tree_lib.param_paths(teacher[1].params)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(weights.params))
    np.testing.assert_allclose(draw(student, weights), draw(*teacher), atol=1e-4)
    assert jnp.abs(draw(student, moved(weights)) - draw(*teacher)).max() > 1e-2


@pytest.mark.parametrize("name", STUDENTS)
def test_training_changes_all_that_the_output_depends_on(name):
    teacher = make_toy(schedules.flow() if name == "reflow" else schedules.edm())
    student = make_student(teacher, name)
    weights = fresh(student, teacher)
    (value, outputs), gradient = loss_and_gradient(student, weights)
    assert value > 1e-6 and outputs.metrics == {}
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(gradient))
    other = {**batch(), "label": (jnp.arange(8) + 3) % 10}
    assert loss_and_gradient(student, weights, data=other)[0][0] != value, "labels matter"
    held_out = jax.jit(student.evaluate)(weights, batch(2000), KEY)["loss"]
    assert held_out.shape == (2000,)
    if name != "reflow":  # the velocity of a network that predicts x0 has no mean square
        mean = loss_and_gradient(student, weights, data=batch(2000))[0][0]
        assert held_out.mean() == pytest.approx(float(mean), rel=0.2)


def test_a_picture_depends_on_its_index_alone(teacher):
    student = make_student(teacher, "consistency")
    weights = moved(fresh(student, teacher))
    one = jax.jit(student.sample)(weights, {"index": jnp.array([4]), "label": jnp.array([4])}, KEY).images
    many = draw(student, weights)
    np.testing.assert_allclose(one[0], many[4], atol=1e-4)
    assert jnp.abs(many[0] - many[1]).max() > 1e-2


def test_the_target_follows_the_student(teacher):
    """A moving average of the parameters, and what the loss compares with: not the student as it is."""
    student = make_student(teacher, "consistency", objective={"target_decay": 0.9})
    weights = moved(fresh(student, teacher))
    (value, outputs), _ = loss_and_gradient(student, weights)
    jax.tree.map(lambda leaf: np.testing.assert_allclose(leaf, 0.1 * 0.02, rtol=1e-4), outputs.extra)
    caught_up = weights._replace(extra=weights.params["model"])
    assert loss_and_gradient(student, caught_up)[0][0] != value
    plain = make_student(teacher, "consistency", objective={"target_decay": 0.0})
    np.testing.assert_allclose(
        loss_and_gradient(plain, caught_up._replace(extra=()))[0][0], loss_and_gradient(student, caught_up)[0][0]
    )


def test_consistency_training_asks_the_teacher_nothing(teacher):
    """Another teacher with the same sum of parameters gives the same loss; distilled, it doesn't."""
    for solver, same in (("none", True), ("heun", False)):
        student = make_student(teacher, "consistency", objective={"solver": solver, "target_decay": 0.0})
        weights = moved(fresh(student, teacher))
        shifted = teacher[1]._replace(params=jax.tree.map(lambda leaf: leaf + 0.02, teacher[1].params))
        other = weights._replace(params=moved(weights, -0.02).params, frozen={"teacher": shifted})
        values = [loss_and_gradient(student, w)[0][0] for w in (weights, other)]
        assert bool(np.allclose(*values, rtol=1e-4)) == same, solver


def test_a_guided_teacher(teacher):
    plain, guided = (make_student(teacher, guidance_scale=scale) for scale in (1.0, 3.0))
    weights = fresh(plain, teacher)
    assert loss_and_gradient(plain, weights)[0][0] != loss_and_gradient(guided, weights)[0][0]


def test_a_student_teaches_the_next_round(teacher):
    """It starts where the round before ended: at the sum of all differences."""
    first = make_student(teacher)
    weights = moved(fresh(first, teacher))
    second = make_student((first,), objective={"num_steps": 2})
    after = fresh(second, (first, weights))
    np.testing.assert_allclose(draw(second, after), draw(first, weights), atol=1e-5)
    third = make_student((second,), objective={"num_steps": 1})
    assert loss_and_gradient(third, fresh(third, (second, after)))[0][0] > 0


def test_refuses_who_can_not_teach(teacher):
    with pytest.raises(ValueError, match="--config.stages.teacher.workdir=DIR"):
        make_student(None)
    model = make_student(teacher, "consistency")
    with pytest.raises(ValueError, match="can't teach"):
        make_student((model,))
    with pytest.raises(ValueError, match=r"draws pictures \(8, 8, 1\)"):
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
