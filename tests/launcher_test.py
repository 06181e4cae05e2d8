"""What the flags of sampling refuse, before anything is drawn."""

from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict

from genjax import launcher, stages
from genjax.families.base import Weights
from genjax.pipelines import filling
from genjax.typing import DataSpec

SAMPLING = launcher.SamplingFlags(num_samples=4)


def _stage(text_length):
    interface = SimpleNamespace(num_classes=0, text_length=text_length, options={})
    spec = DataSpec((8, 8, 3))
    return stages.Stage(SimpleNamespace(interface=interface), Weights({}, {}, {}), ConfigDict(), spec, step=0)


def _asked(**chosen):
    flags.FLAGS.mark_as_parsed()
    return flagsaver.as_parsed(workdir="runs/any", **chosen)


def test_a_split_of_captions_is_refused_where_none_are_drawn():
    with (
        _asked(prompts_split="compositional"),
        pytest.raises(ValueError, match="--prompts_split.*reads no text can't use it"),
    ):
        SAMPLING.draw(_stage(text_length=0))
    with (
        _asked(prompts_split="compositional", inpaint="a.png:b.png"),
        pytest.raises(ValueError, match="edits can't use"),
    ):
        SAMPLING.draw(_stage(text_length=0))
    with (
        _asked(prompts_split="compositional", prompt=["a red heart"]),
        pytest.raises(ValueError, match="leave --prompts_split out"),
    ):
        SAMPLING.draw(_stage(text_length=8))


def test_only_prompts_are_reranked():
    with (
        _asked(rerank="runs/clip:8"),
        pytest.raises(ValueError, match="--rerank needs a model that reads text"),
    ):
        SAMPLING.draw(_stage(text_length=0))


def test_samples_come_from_a_file_from_the_model_or_from_nowhere(tmp_path):
    np.savez(tmp_path / "samples.npz", np.zeros((2, 8, 8, 3), np.uint8))
    stage = _stage(text_length=0)
    assert len(SAMPLING.samples(stage, str(tmp_path / "samples.npz")).images) == 2
    assert SAMPLING.samples(stage, None) is None, "no ImageSampler draws none"


def test_holes_are_filled_by_captions_of_data_alone(monkeypatch):
    def measure(stage, count, options, seed):
        return {"object in the hole": 0.5} if (count, options, seed) == (7, {"guidance_scale": 2.0}, 3) else {}

    monkeypatch.setattr(filling, "measure", measure)
    with _asked(num_samples="7", guidance_scale="2.0", seed="3"):
        assert SAMPLING.fill_holes(_stage(8)) == {"holes": {"object in the hole": 0.5}}
    with _asked(prompt=["a red heart"]), pytest.raises(ValueError, match="leave prompts out"):
        SAMPLING.fill_holes(_stage(8))
