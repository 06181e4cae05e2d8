"""What the flags of sampling refuse, before anything is drawn."""

from types import SimpleNamespace

import pytest
from absl import flags
from ml_collections import ConfigDict

from genjax import launcher, stages
from genjax.families.base import Weights
from genjax.typing import DataSpec

SAMPLING = launcher.SamplingFlags(num_samples=4)


def _stage(text_length):
    interface = SimpleNamespace(num_classes=0, text_length=text_length, options={})
    spec = DataSpec((8, 8, 3))
    return stages.Stage(SimpleNamespace(interface=interface), Weights({}, {}, {}), ConfigDict(), spec, step=0)


def _ask(*arguments):
    flags.FLAGS.unparse_flags()
    for name in ("prompt", "prompts_file", "prompts_split", "inpaint", "rerank"):
        flags.FLAGS[name].unparse()
    flags.FLAGS(["program", "--workdir=runs/any", *arguments])


def test_a_split_of_captions_is_refused_where_none_are_drawn(tmp_path):
    _ask("--prompts_split=compositional")
    with pytest.raises(ValueError, match="--prompts_split.*reads no text can't use it"):
        SAMPLING.draw(_stage(text_length=0))
    _ask("--prompts_split=compositional", "--prompt=a red heart")
    with pytest.raises(ValueError, match="leave --prompts_split out"):
        SAMPLING.draw(_stage(text_length=8))


def test_only_prompts_are_reranked():
    _ask("--rerank=runs/clip:8")
    with pytest.raises(ValueError, match="--rerank needs a model that reads text"):
        SAMPLING.draw(_stage(text_length=0))
