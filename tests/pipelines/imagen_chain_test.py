"""Imagen's chain, small: a language model that is not trained, its states kept, a cascade on them."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import stages
from genjax.configs import imagen_shapes_pipeline
from genjax.data import loader
from genjax.families.interfaces import TextEncoder
from genjax.pipelines import cascade, chain
from genjax.pipelines import sampling as sampling_lib
from genjax.training import workdir

pytestmark = pytest.mark.slow
PROMPTS = ["a small red circle", "a blue star above a green ring"]


@pytest.fixture(scope="module")
def whole(drawn_folder, tmp_path_factory):
    """The folder of a chain that ran to its end."""
    config = imagen_shapes_pipeline.get_config("tiny")
    for name, stage in config.stages.items():
        stage.data.update(name=f"folder:{drawn_folder}", batch_size=8)
        if name != "text":
            stage.training.num_steps = 2
            stage.checkpoint.every = 2
            stage.log.update(every=1, sample_every=0, eval_every=2)
    config.samples = 4
    folder = tmp_path_factory.mktemp("chains") / "imagen"
    assert chain.run(config, folder).is_file()
    return folder


def test_the_language_model_is_a_stage_that_stays_as_it_is(whole):
    text = stages.load(whole / "text")
    assert isinstance(text.family.interface, TextEncoder) and text.step == 0
    for name in ("base", "up32", "up64"):
        record = json.loads((whole / name / "stage.json").read_text())["stages"]["text"]
        assert record == text.record
        stage = stages.load(whole / name)
        assert set(stage.weights.params) == {"model"}, "it is no player of its children"
        frozen = stage.weights.frozen["text"].params["model"]["embed"]["embedding"]
        np.testing.assert_array_equal(frozen, text.weights.params["model"]["embed"]["embedding"])


def test_states_that_were_kept_are_the_live_ones(whole):
    text = stages.load(whole / "text")
    settings = workdir.read_config(whole / "up32").data.to_dict()
    assert settings["encoded"]
    for batch in loader.Data(settings).eval_batches():
        live = text.family.interface.encode(text.weights, jnp.asarray(batch["tokens"]))
        real = batch["mask"] > 0
        np.testing.assert_allclose(batch["text_states"][real], np.asarray(live.states)[real], atol=2e-3)
        assert (batch["text_states"][batch["tokens"] == 0] == 0).all()


def test_the_cascade_draws_prompts_and_its_stages_can_be_swapped(whole):
    stage = cascade.load(whole)
    assert stage.interface.text_length == 16 and "guidance_scale" in stage.interface.options
    drawn = sampling_lib.draw(stage, 4, prompts=PROMPTS)
    assert drawn.images.shape == (4, 32, 32, 3)
    parts = [whole / name for name in ("base", "up32")]
    shorter = sampling_lib.draw(cascade.load(parts), 4, prompts=PROMPTS)
    assert shorter.images.shape == (4, 16, 16, 3)
    alone = sampling_lib.draw(stages.load(whole / "base"), 4, prompts=PROMPTS)
    assert alone.images.shape == (4, 8, 8, 3) and alone.images.std() > 0
