"""A cascade: one stage whose base doesn't know what comes after it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from genjax.configs import (
    cascade_digits_pipeline as cascade_digits,
)
from genjax.configs import (
    cascade_shapes_pipeline as cascade_shapes,
)
from genjax.configs import (
    ddpm_digits,
)
from genjax.configs.recipes import dits
from genjax.core import images as images_lib
from genjax.core import rng
from genjax.families import registry
from genjax.families.interfaces import Conditions, ImageSampler, Weights
from genjax.pipelines import cascade, chain
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage
from genjax.training import nesting, optim, workdir
from genjax.training.checkpoint import Checkpoints
from genjax.training.state import TrainState
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.requested import conditions_of

KEY = jax.random.key(0)


def member(config, seed=0):
    """A stage of random weights, of one level."""
    size = config.data.image_size
    if config.model.network.name == "unet":
        config.model.network.update(channel_mult=(1,), attention_resolutions=())
    config.sampling.num_steps = "2"
    spec = DataSpec((size, size, 1), 10)
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)
    batch = {"image": jnp.zeros((1, size, size, 1)), "label": jnp.zeros((1,), int)}
    return Stage(family, perturbed.noise(family, batch, scale=0.2, seed=seed), config, spec, 0, seed)


def make(seed=1, **model):
    """8 -> 16 pixels."""
    upsampler = cascade_digits.upsampler(16, "tiny")
    upsampler.model.update(model)
    base = ddpm_digits.get_config("tiny")
    dits.network(base, width=8, depth=1, num_heads=1, patch_size=4)  # compiles fast
    return {"base": member(base), "up": member(upsampler, seed)}


def draw_each(members, **conditions):
    """The images of every stage, in one program."""
    interfaces = {name: stage.family.interface for name, stage in members.items()}
    weights = Weights({}, (), {name: stage.weights for name, stage in members.items()})
    each = jax.jit(lambda *inputs: cascade.draw_each(interfaces, {name: {} for name in interfaces}, *inputs))
    requested = conditions_of(label=jnp.arange(4), **conditions)
    return [samples.images for samples in each(weights, requested, jnp.arange(4), KEY)]


@functools.cache
def first_drawn():
    """Stages, and the images that each draws."""
    members = make()
    return members, draw_each(members)


def test_another_super_resolution_leaves_the_base_as_it_is_bit_by_bit():
    other = make(seed=2, parameterization={"name": "eps"})
    (first, drawn), again = first_drawn(), draw_each(other, aug_level=jnp.float32(0.3))
    np.testing.assert_array_equal(drawn[0], again[0])
    assert float(jnp.abs(drawn[1] - again[1]).max()) > 0.01
    base = first["base"]
    alone = jax.jit(base.family.interface.sample)(
        base.weights, Conditions(label=jnp.arange(4)), jnp.arange(4), KEY
    ).images
    np.testing.assert_allclose(drawn[0], images_lib.from_uint8(images_lib.to_uint8(alone)), atol=0.008)


def test_each_stage_gets_the_images_of_the_one_before_on_the_8_bit_grid():
    members, (small, large) = first_drawn()
    np.testing.assert_allclose(np.asarray(small + 1) * 127.5, np.round((small + 1) * 127.5), atol=1e-3)
    up = members["up"]
    again = jax.jit(up.family.interface.sample)(
        up.weights, Conditions(low_res=small), jnp.arange(4), rng.stream(KEY, "up")
    ).images
    assert float(jnp.abs(images_lib.from_uint8(images_lib.to_uint8(again)) - large).max()) < 0.02


def test_it_is_drawn_as_any_stage_whatever_the_batch():
    stage = cascade.join(make())
    assert isinstance(stage.interface, ImageSampler)
    assert stage.interface.num_classes == 10 and stage.interface.image_shape == (16, 16, 1)
    assert dict(stage.interface.options) == {"guidance_scale": 1.0, "aug_level": 0.0}
    assert stage.config.sampling.aug_level == 0.1
    drawn = {}
    for size in (24, 5):  # in one batch; in three, for 5 is rounded up to the eight devices
        stage.config.sampling.batch_size = size
        drawn[size] = sampling_lib.draw(stage, 20)
        assert drawn[size].images.shape == (20, 16, 16, 1) and list(drawn[size].labels) == 2 * list(range(10))
    assert np.abs(drawn[5].images.astype(int) - drawn[24].images).max() <= 1
    louder = sampling_lib.draw(stage, 7, options={"aug_level": 0.4})
    assert (louder.images != drawn[5].images[:7]).any()


def test_what_makes_no_cascade_is_told():
    members = make()
    for stages_, words in (
        ({"up": members["up"]}, "the first stage of a cascade has to draw images, and up doesn't"),
        ({"base": members["base"], "again": members["base"]}, "again doesn't; train it with .*low_res"),
        (
            {"base": members["base"], "up": member(cascade_digits.upsampler(32, "tiny"))},
            r"up upsamples images of \(16, 16, 1\), and base draws \(8, 8, 1\).*size of up to 8",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            cascade.join(stages_)
    with pytest.raises(ValueError, match="upsamples images and draws none.*cascade's folder"):
        sampling_lib.draw(members["up"], 3)


def untrained(config, folder):
    """A finished run without its training: random weights at its last step."""
    stage = member(config, seed=config.data.image_size)
    params, step = stage.weights.params, jnp.int32(config.training.num_steps)
    optimizers = optim.make_optimizers(config.optimizer.to_dict(), stage.family, config.training.num_steps)
    optimizer_state = jax.eval_shape(lambda p: {name: optimizers[name].init(p[name]) for name in p}, params)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), optimizer_state)
    params = jax.tree.map(jnp.asarray, params)
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(TrainState(step, params, zeros, jax.tree.map(jnp.copy, params), ()), {"next_index": 0})
    checkpoints.close()
    workdir.claim(folder, config, stage.family.interface)


@pytest.fixture(scope="module")
def config(data_dir):
    """The chain 8 -> 16."""
    config = cascade_digits.get_config("tiny")
    config.order = config.cascade = ("base", "up16")
    config.samples = 6
    for stage in config.stages.values():
        stage.data.data_dir = data_dir
        stage.sampling.num_steps = "2"
    return config


@pytest.mark.slow
def test_a_chain_leaves_a_cascade_behind(config, tmp_path, monkeypatch):
    monkeypatch.setattr(chain.stages, "train", untrained)
    chain.run(config, tmp_path)
    assert json.loads((tmp_path / nesting.PIPELINE).read_text())["sampling"] == "cascade"
    assert nesting.read(tmp_path).workdirs == {"base": tmp_path / "base", "up16": tmp_path / "up16"}
    assert nesting.read(tmp_path / "base") == nesting.Nesting(tmp_path / "base")
    with np.load(tmp_path / "samples" / "samples.npz") as file:
        batch_of_images = file["arr_0"]
        assert batch_of_images.shape == (6, 16, 16, 1) and list(file["arr_1"]) == list(range(6))
    np.testing.assert_array_equal(sampling_lib.draw(cascade.load(tmp_path), 6).images, batch_of_images)
    for folder, sampling, words in (
        (tmp_path / "base", {}, "is not the folder of a cascade"),
        (tmp_path, {"colour": "red"}, "no stage of the cascade has config.sampling.colour"),
        ([tmp_path / "base", tmp_path / "base"], {}, "need names of their own"),
    ):
        with pytest.raises(ValueError, match=words):
            cascade.load(folder, sampling=sampling)


@pytest.mark.parametrize("variant", ["", "tiny"])
@pytest.mark.parametrize("module", [cascade_digits, cascade_shapes])
def test_the_stages_of_the_configs_fit(module, variant):
    chain_config = module.get_config(variant)
    assert chain_config.sampling == "cascade"
    members = {}
    for name in chain_config.order:
        config = chain_config.stages[name]
        shape = (config.data.image_size, config.data.image_size, config.data.channels)
        settings = (config.family, config.model.to_dict(), config.sampling.to_dict())
        spec = DataSpec(shape, 10)
        members[name] = Stage(registry.build(*settings, spec), Weights({}, (), {}), config, spec, 0)
    cascade.check({name: stage.interface for name, stage in members.items()})
    inputs = {"image": jax.ShapeDtypeStruct((2, *shape), jnp.float32), "label": jax.ShapeDtypeStruct((2,), jnp.int32)}
    params, extra = jax.eval_shape(members[name].family.init, KEY, inputs)
    family = members[name].family
    jax.eval_shape(lambda p, b: losses.compute(family, p, b, KEY, extra=extra).value, params, inputs)


def test_an_unknown_way_to_sample_a_chain_is_told(config, tmp_path):
    other = ConfigDict(config.to_dict())
    other.sampling = "all"
    with pytest.raises(ValueError, match="unknown config.sampling='all' of a chain"):
        chain.run(other, tmp_path)


@pytest.mark.slow
def test_a_chain_trains_a_cascade(config, tmp_path):
    for stage in config.stages.values():
        stage.training.num_steps = 2
        stage.checkpoint.every = 2
        stage.log.update(every=1, sample_every=2, eval_every=2)
    chain.run(config, tmp_path)
    for name in config.order:
        assert list((tmp_path / name / "samples").iterdir()), "for up16 pairs of images and what became of them"
    assert (tmp_path / "samples" / "samples.png").is_file()
