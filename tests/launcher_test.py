"""What the flags of sampling refuse, before anything is drawn."""

from types import SimpleNamespace

import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict

from genjax import launcher, stages
from genjax.families.base import Weights
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
