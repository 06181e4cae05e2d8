"""Samples as people request them: what is compiled anew, and what a request changes."""

import pytest
from ml_collections import ConfigDict

from genjax.families.interfaces import Weights
from genjax.pipelines import folders, requests
from genjax.pipelines.guides import registry as guides
from genjax.pipelines.requests import SampleRequest
from genjax.stages import Stage

OTHERS = {
    "count": 3, "label": "1", "prompts": ("a heart",), "each": 2, "split": "train", "options": {"truncation": 0.5},
    "seed": 4, "keep": 0.5, "rerank": "clip:2", "sampler": "ddim", "num_steps": "7", "trajectory": True,
    "guides": ("image:a.png:1",), "edit": ("sdedit", "a.png:0.5"),
}  # fmt: skip
"""Of each field of a request another value than the default."""


@pytest.fixture
def prepare(monkeypatch):
    """(request, guides of the config) -> what `prepare` does to a stage: the overrides of sampling, and its guides."""
    done = {}
    monkeypatch.setattr(folders, "with_sampling", lambda stage, sampling: done.update(sampling=sampling) or stage)
    monkeypatch.setattr(guides, "make", lambda text, stage: text)
    monkeypatch.setattr(guides, "guide", lambda stage, made: done.update(guides=made) or stage)

    def run(request, configured=()):
        sampling = {"trajectory": False, "sampler": {"name": "heun"}, "num_steps": "5", "guides": configured}
        config = ConfigDict({"family": "toy", "sampling": sampling})
        requests.prepare(Stage(None, Weights({}, (), {}), config, None, step=0), request)
        return dict(done)

    return run


@pytest.mark.parametrize("field", SampleRequest._fields)
def test_whatever_prepare_changes_is_compiled_anew_and_nothing_else(prepare, field):
    plain, other = SampleRequest(), SampleRequest(**{field: OTHERS[field]})
    assert (plain.compiled == other.compiled) == (prepare(plain) == prepare(other))


def test_guides_are_the_requested_ones_or_the_configs_and_an_empty_one_is_none(prepare):
    for requested, expected in (((), ["of the config"]), (("a", "b"), ["a", "b"]), (("",), [])):
        assert prepare(SampleRequest(guides=requested), ("of the config",))["guides"] == expected
