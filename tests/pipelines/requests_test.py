"""Samples as people request them: what is compiled anew, and what a request changes."""

from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from genjax import stages
from genjax.families.interfaces import ImageSampler, Weights
from genjax.generate import Drawn
from genjax.pipelines import editing, folders, prompts, rejection, requests, reranking
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.guides import registry as guides
from genjax.pipelines.requests import SampleRequest
from genjax.stages import Stage
from genjax.typing import DataSpec

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


@pytest.fixture
def drawn(monkeypatch):
    """(request, text_length, num_classes) -> who was asked for captions and images, and for which, in turn."""
    notes = []

    def noted(owner, name, found):
        monkeypatch.setattr(
            owner, name, lambda stage, *given, **settings: notes.append((name, given, settings)) or found
        )

    images = Drawn(np.zeros((1, 2, 2, 1), np.uint8), None, None)
    noted(prompts, "for_images", ("a", "b", "c"))
    noted(sampling_lib, "draw", images)
    noted(rejection, "train_classifier", "a classifier")
    for owner in (rejection, reranking):
        noted(owner, "draw_best", images)
    monkeypatch.setattr(stages, "load", lambda folder: f"the run in {folder}")

    def run(request, text_length=0, num_classes=0, program=None):
        interface = ImageSampler(None, (2, 2, 1), num_classes, text_length=text_length)
        spec = DataSpec((2, 2, 1), num_classes)
        stage = Stage(SimpleNamespace(interface=interface), Weights({}, (), {}), ConfigDict(), spec, step=0)
        notes.clear()
        assert requests.draw(stage, request, program) is images
        return list(notes)

    return run


SHARED = {"options": {"truncation": 0.5}, "seed": 4}


def test_captions_are_those_of_the_split_that_is_named_and_each_is_drawn_as_often_as_requested(drawn):
    asked, draw = drawn(SampleRequest(count=5, each=2, split="train", **SHARED), text_length=8)
    assert asked == ("for_images", (3,), {"split": "train"})
    texts = ["a", "a", "b", "b", "c"]
    assert draw == ("draw", (5,), {**SHARED, "label": None, "prompts": texts})
    (draw,) = drawn(SampleRequest(count=5, each=2, prompts=("x", "y"), **SHARED), text_length=8)
    assert draw == ("draw", (4,), {**SHARED, "label": None, "prompts": ["x", "x", "y", "y"]})


def test_a_class_an_edit_and_a_program_reach_what_draws(drawn, monkeypatch):
    edit = editing.Edit({}, lambda stage, count: {"known": np.ones((count, 1))})
    monkeypatch.setattr(editing, "make", lambda *text: edit if text == ("sdedit", "a.png:0.5") else None)
    request = SampleRequest(count=3, label="1", edit=("sdedit", "a.png:0.5"), **SHARED)
    ((name, given, settings),) = drawn(request, num_classes=4, program=print)
    np.testing.assert_array_equal(settings.pop("conditions")["known"], np.ones((3, 1)))
    assert (name, given, settings) == ("draw", (3,), {**SHARED, "label": 1, "prompts": None, "program": print})


def test_images_between_two_are_of_one_class_or_one_text(drawn):
    """Other edits may show several."""
    between = SampleRequest(edit=("interpolate", "a.png:b.png"), **SHARED)
    with pytest.raises(ValueError, match="needs one class for all images; set the label"):
        drawn(between, num_classes=4)
    for prompts_ in (None, ("x", "y")):
        with pytest.raises(ValueError, match="needs one prompt for all images; set one"):
            drawn(between._replace(prompts=prompts_), text_length=8)
    for name, text in (("inpaint", "a:b"), ("outpaint", "a:1,2"), ("sdedit", "a:0.5")):
        assert not editing.make(name, text).one_label


def test_whoever_chooses_among_samples_is_given_the_whole_request(drawn):
    taught, chosen = drawn(SampleRequest(count=6, label="2", keep=0.5, **SHARED), num_classes=4)
    assert taught == ("train_classifier", (), {})
    assert chosen == ("draw_best", ("a classifier", 6, 0.5), {**SHARED, "label": 2, "prompts": None})
    (chosen,) = drawn(SampleRequest(prompts=("x",), each=2, rerank="clip:3", **SHARED), text_length=8)
    assert chosen == ("draw_best", ("the run in clip", ["x", "x"], 3), SHARED)
