"""A cascade: one stage whose base doesn't know what comes after it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cascade_digits, ddpm_digits
from genjax import stages
from genjax.core import images as images_lib
from genjax.core import rng
from genjax.families import registry
from genjax.families.base import ImageSampler, Weights
from genjax.pipelines import cascade, chain, images
from genjax.stages import Stage
from genjax.training import workdir
from genjax.typing import DataSpec

KEY = jax.random.key(0)


def member(config, seed=0):
    """A stage of random weights."""
    size = config.data.image_size
    config.sampling.num_steps = "2"
    spec = DataSpec((size, size, 1), 10)
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)
    batch = {"image": jnp.zeros((1, size, size, 1)), "label": jnp.zeros((1,), int)}
    params, extra = jax.eval_shape(family.init, KEY, batch)
    leaves, treedef = jax.tree.flatten(params)
    draw = np.random.default_rng(seed)
    params = treedef.unflatten([0.2 * draw.standard_normal(leaf.shape, np.float32) for leaf in leaves])
    return Stage(family, Weights(params, extra, {}), config, spec, 0, seed)


def make(seed=1, **model):
    """8 -> 16 pixels."""
    upsampler = cascade_digits.upsampler(16, "tiny")
    upsampler.model.update(model)
    return {"base": member(ddpm_digits.get_config("tiny")), "up": member(upsampler, seed)}


def draw_each(members, **conditions):
    """The pictures of every stage, in one program."""
    interfaces = {name: stage.family.interface for name, stage in members.items()}
    weights = Weights({}, (), {name: stage.weights for name, stage in members.items()})
    each = jax.jit(lambda *inputs: cascade.draw_each(interfaces, {name: {} for name in interfaces}, *inputs))
    label = {"index": jnp.arange(4), "label": jnp.arange(4)}
    return [samples.images for samples in each(weights, label | conditions, KEY)]


def test_another_super_resolution_leaves_the_base_as_it_is_bit_by_bit():
    first, other = make(), make(seed=2, parameterization={"name": "eps"})
    drawn, again = draw_each(first), draw_each(other, aug_level=jnp.float32(0.3))
    np.testing.assert_array_equal(drawn[0], again[0])
    assert float(jnp.abs(drawn[1] - again[1]).max()) > 0.01
    conditions = {"index": jnp.arange(4), "label": jnp.arange(4)}
    base = first["base"]
    alone = jax.jit(base.family.sample)(base.weights, conditions, KEY).images
    np.testing.assert_allclose(drawn[0], images_lib.from_uint8(images_lib.to_uint8(alone)), atol=0.008)


def test_each_stage_gets_the_pictures_of_the_one_before_on_the_8_bit_grid():
    members = make()
    small, large = draw_each(members)
    np.testing.assert_allclose(np.asarray(small + 1) * 127.5, np.round((small + 1) * 127.5), atol=1e-3)
    up = members["up"]
    again = jax.jit(up.family.sample)(
        up.weights, {"index": jnp.arange(4), "low_res": small}, rng.stream(KEY, "up")
    ).images
    assert float(jnp.abs(images_lib.from_uint8(images_lib.to_uint8(again)) - large).max()) < 0.02


def test_it_is_drawn_as_any_stage_whatever_the_batch():
    stage = cascade.join(make())
    assert isinstance(stage.family.interface, ImageSampler)
    assert stage.family.interface.num_classes == 10 and stage.family.interface.image_shape == (16, 16, 1)
    assert dict(stage.family.interface.options) == {"guidance_scale": 1.0, "aug_level": 0.0}
    assert stage.config.sampling.aug_level == 0.1
    many = images.draw(stage, 12)
    stage.config.sampling.batch_size = 5
    few = images.draw(stage, 7)
    assert many.images.shape == (12, 16, 16, 1) and list(few.labels) == list(range(7))
    assert np.abs(few.images.astype(int) - many.images[:7]).max() <= 1
    louder = images.draw(stage, 7, options={"aug_level": 0.4})
    assert (louder.images != few.images).any()


def test_what_makes_no_cascade_is_told():
    members = make()
    for stages_, words in (
        ({"up": members["up"]}, "the first stage of a cascade has to draw pictures, and up is a SuperResolver"),
        ({"base": members["base"], "again": members["base"]}, "again is a ImageSampler; train it with .*low_res"),
        (
            {"base": members["base"], "up": member(cascade_digits.upsampler(32, "tiny"))},
            r"up enlarges pictures of \(16, 16, 1\), and base draws \(8, 8, 1\).*size of up to 8",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            cascade.join(stages_)


def test_a_chain_leaves_a_cascade_behind(tmp_path_factory):
    folder, data_dir = tmp_path_factory.mktemp("chains") / "digits", tmp_path_factory.mktemp("data")
    config = cascade_digits.get_config("tiny")
    config.order, config.samples = ("base", "up16"), 20
    for stage in config.stages.values():
        stage.data.data_dir = str(data_dir)
        stage.training.num_steps = 2
        stage.checkpoint.every = 2
        stage.log.update(every=1, sample_every=0, eval_every=0)
        stage.sampling.num_steps = "2"
    config.stages.up16.log.update(sample_every=2, eval_every=2)
    chain.run(config, folder)
    assert json.loads((folder / workdir.PIPELINE).read_text())["sampling"] == "cascade"
    assert cascade.is_cascade(folder) and not cascade.is_cascade(folder / "base")
    assert list((folder / "up16" / "samples").iterdir()), "pairs of held-out pictures and what became of them"
    with np.load(folder / "samples" / "samples.npz") as file:
        assert file["arr_0"].shape == (20, 16, 16, 1) and file["arr_1"].shape == (20,)
        pictures = file["arr_0"]
    stage = cascade.load(folder)
    np.testing.assert_array_equal(images.draw(stage, 20).images, pictures)
    assert stages.load(folder).config.model.low_res.size == 8, "the folder's own workdir is that of the last stage"
    with pytest.raises(ValueError, match="is not the folder of a cascade"):
        cascade.load(folder / "base")
    with pytest.raises(ValueError, match="no stage of the cascade has config.sampling.colour"):
        cascade.load(folder, sampling={"colour": "red"})
    with pytest.raises(ValueError, match="need names of their own"):
        cascade.load([folder / "base", folder / "base"])
    config.sampling = "all"
    with pytest.raises(ValueError, match="unknown config.sampling='all' of a chain"):
        chain.run(config, folder)
