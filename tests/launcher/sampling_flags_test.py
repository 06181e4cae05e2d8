"""What the flags of sampling refuse, before anything is drawn."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict
from PIL import Image

from genjax import stages
from genjax.families.interfaces import ImageSampler, Weights
from genjax.generate import Drawn
from genjax.launcher.sampling_flags import SamplingFlags
from genjax.pipelines import evaluation, filling, folders, rejection, reranking, sample_files
from genjax.pipelines import sampling as sampling_lib
from genjax.typing import DataSpec

SAMPLING = SamplingFlags(num_samples=4)
FOUND = Drawn(np.zeros((2, 8, 8, 3), np.uint8))
DRAWN = Drawn(np.zeros((1, 8, 8, 3), np.uint8))
flags.DEFINE_string("likelihood", "", "As in launch/evaluate.py.")


def _stage(text_length=0, num_classes=0, **data):
    interface = ImageSampler(None, (8, 8, 3), num_classes, text_length=text_length)
    spec = DataSpec((8, 8, 3), num_classes, **data)
    family = SimpleNamespace(interface=interface, reconstruct=None)
    return stages.Stage(family, Weights({}, {}, {}), ConfigDict({"family": "toy"}), spec, step=0)


def _requested(**chosen):
    flags.FLAGS.mark_as_parsed()
    return flagsaver.as_parsed(workdir="runs/any", **chosen)


def test_a_split_of_captions_is_refused_where_none_are_drawn():
    with (
        _requested(prompts_split="compositional"),
        pytest.raises(ValueError, match="--prompts_split.*reads no text can't use it"),
    ):
        SAMPLING.draw(_stage(text_length=0))
    with (
        _requested(prompts_split="compositional", inpaint="a.png:b.png"),
        pytest.raises(ValueError, match="edits can't use"),
    ):
        SAMPLING.draw(_stage(text_length=0))
    with (
        _requested(prompts_split="compositional", prompt=["a red heart"]),
        pytest.raises(ValueError, match="leave --prompts_split out"),
    ):
        SAMPLING.draw(_stage(text_length=8))


def test_only_prompts_are_reranked():
    with (
        _requested(rerank="runs/clip:8"),
        pytest.raises(ValueError, match="^rerank needs a model that reads text"),
    ):
        SAMPLING.draw(_stage(text_length=0))


def test_what_is_reranked_is_as_requested(monkeypatch):
    notes = []
    monkeypatch.setattr(stages, "load", lambda folder: _stage()._replace(step=int(folder)))

    def draw_best(stage, judge, *found, **settings):
        notes.append((judge.step, *found, settings))
        return DRAWN

    monkeypatch.setattr(reranking, "draw_best", draw_best)
    with _requested(rerank="77:8", prompt=["a", "b"], samples_per_prompt="2", seed="5", temperature="0.5"):
        SAMPLING.draw(_stage(text_length=8))
    assert notes == [(77, ["a", "a", "b", "b"], 8, {"options": {"temperature": 0.5}, "seed": 5})]


def test_what_is_kept_by_a_classifier_is_as_requested(monkeypatch):
    notes, names = [], {"num_classes": 2, "class_names": ("cat", "dog")}
    monkeypatch.setattr(rejection, "train_classifier", lambda stage: "classifier")
    monkeypatch.setattr(
        rejection, "draw_best", lambda stage, *found, **settings: notes.append((*found, settings)) or DRAWN
    )
    with _requested(keep="0.25", num_samples="6", label="dog", seed="5", truncation="0.5"):
        SAMPLING.draw(_stage(**names))
    settings = {"label": 1, "prompts": None, "options": {"truncation": 0.5}, "seed": 5}
    assert notes == [("classifier", 6, 0.25, settings)]


def test_reconstructions_are_of_as_many_images_and_of_the_seed(monkeypatch):
    notes = []
    monkeypatch.setattr(evaluation, "held_out_images", lambda stage: np.arange(9))
    monkeypatch.setattr(sampling_lib, "pairs", lambda stage, held, seed: notes.append((held.tolist(), seed)) or DRAWN)
    with _requested(num_samples="3", seed="5"):
        SAMPLING.reconstruct(_stage())
    assert notes == [([0, 1, 2], 5)]


def test_samples_come_from_a_file_from_the_model_or_from_nowhere(tmp_path):
    np.savez(tmp_path / "samples.npz", np.zeros((2, 8, 8, 3), np.uint8))
    stage = _stage(text_length=0)
    found = sample_files.read(tmp_path / "samples.npz")
    assert SAMPLING.samples(stage, found) is found and len(found.images) == 2
    with pytest.raises(ValueError, match=r"--samples: its images of \(8, 8, 3\) can't be compared with data of"):
        SAMPLING.samples(stage._replace(spec=DataSpec((16, 16, 3))), found)
    assert SAMPLING.samples(stage, None) is None, "no ImageSampler draws none"


def test_holes_are_filled_by_captions_of_data_alone(monkeypatch):
    def measure(stage, count, options, seed):
        return {"object in the hole": 0.5} if (count, options, seed) == (7, {"guidance_scale": 2.0}, 3) else {}

    monkeypatch.setattr(filling, "measure", measure)
    with _requested(num_samples="7", guidance_scale="2.0", seed="3"):
        assert SAMPLING.fill_holes(_stage(8)) == {"holes": {"object in the hole": 0.5}}


@pytest.mark.parametrize(
    "chosen",
    [
        {"prompt": ["a red heart"]},
        {"keep": "0.5"},
        {"rerank": "runs/clip:8"},
        {"label": "3"},
        {"inpaint": "a.png:b.png"},
        {"variations": "a.png:1"},
        {"samples_per_prompt": "2"},
    ],
)
def test_flags_that_filling_holes_does_not_read_are_refused(chosen):
    with (
        _requested(**chosen),
        pytest.raises(ValueError, match=f"^--{next(iter(chosen))} would do nothing: .*; leave it out$"),
    ):
        SAMPLING.fill_holes(_stage(8))


@pytest.mark.parametrize("chosen", [{"seed": "1"}, {"num_samples": "9"}, {"guidance_scale": "2"}, {"guide": ["x:y:1"]}])
def test_a_file_of_samples_leaves_nothing_to_sample(chosen):
    with (
        _requested(**chosen),
        pytest.raises(ValueError, match=f"^--{next(iter(chosen))} would do nothing: --samples names"),
    ):
        SAMPLING.samples(_stage(), FOUND)
    with (
        _requested(**chosen),
        pytest.raises(ValueError, match="would do nothing: a run of the family 'toy' draws no images"),
    ):
        SAMPLING.samples(_stage(), None)


def test_flags_of_a_likelihood_stay():
    with _requested(num_steps="10"), pytest.raises(ValueError, match="--num_steps would do nothing"):
        SAMPLING.samples(_stage(), FOUND)
    with _requested(num_steps="10", likelihood="ode"):
        assert SAMPLING.samples(_stage(), FOUND) is FOUND


@pytest.mark.parametrize("name", ["label", "temperature", "keep", "sdedit"])
def test_reconstructions_read_few_flags(name):
    value = "a.png:0.5" if name == "sdedit" else "0.5"
    with _requested(**{name: value}), pytest.raises(ValueError, match=f"--{name} would do nothing: --reconstruct"):
        SAMPLING.reconstruct(_stage())


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("seed", ["1e20", "-1", "4294967296", "0.5", "many", ""], ["0", "4294967295"]),
        ("num_samples", ["0", "-3", "1.5"], ["1"]),
        ("samples_per_prompt", ["0"], ["2"]),
        ("temperature", ["-1", "nan", "inf"], ["0", "0.5"]),
        ("top_p", ["-0.5", "0", "1.5", "nan"], ["1", "0.1"]),
        ("top_k", ["-3", "1.5", "nan"], ["0", "7"]),
        ("guidance_scale", ["nan", "inf"], ["-1", "0", "7.5"]),
        ("prior_guidance_scale", ["nan"], ["4"]),
        ("aug_level", ["-0.1", "1.1"], ["0", "1"]),
        ("truncation", ["-1", "nan"], ["0", "0.5"]),
        ("keep", ["0", "1.1", "nan"], ["0.5", "1"]),
        ("workdir", ["", "gs://b/x", "gs:/b/x", "~nobody-of-this-name/x"], ["runs/x"]),
        ("prompts_file", ["", "s3://b/x"], ["x.txt"]),
    ],
)
def test_values_have_ranges(name, wrong, right):
    for value in right:
        with flagsaver.as_parsed(**{name: value}):
            assert flags.FLAGS[name].value is not None
    for value in wrong:
        with (
            pytest.raises(flags.IllegalFlagValueError, match=f"--{name}={value}: "),
            flagsaver.as_parsed(**{name: value}),
        ):
            pass


@pytest.mark.parametrize("text", ["cat", "0", "name:cat"])
def test_classes_go_by_name(monkeypatch, text):
    def draw(stage, count, label, **settings):
        return Drawn(np.zeros((1, 8, 8, 3), np.uint8), np.array([label]), None)

    monkeypatch.setattr(sampling_lib, "draw", draw)
    with _requested(label=text):
        assert SAMPLING.draw(_stage(num_classes=2, class_names=("cat", "dog"))).labels == [0]
    with _requested(label="bird"), pytest.raises(ValueError, match="'bird' is no class"):
        SAMPLING.draw(_stage(num_classes=2, class_names=("cat", "dog")))


def test_samples_of_prompts_need_a_model_that_reads():
    with _requested(samples_per_prompt="4"), pytest.raises(ValueError, match="--samples_per_prompt would do nothing"):
        SAMPLING.draw(_stage())


@pytest.mark.parametrize("chosen", [{"num_steps": "10"}, {"sampler": "ddim"}, {}])
def test_settings_that_a_run_has_not_are_refused(tmp_path, chosen):
    parts = '"data": {}, "model": {}, "sampling": {}, "optimizer": {}, "training": {}'
    (tmp_path / "config.json").write_text(f'{{"family": "toy", {parts}}}')
    name = next(iter(chosen), "trajectory")
    with (
        flagsaver.as_parsed(workdir=str(tmp_path), **chosen),
        pytest.raises(ValueError, match=f"--{name}: a run of the family 'toy' has no {name}"),
    ):
        SAMPLING.load(trajectory=not chosen)


@pytest.mark.parametrize("load", [stages.load, folders.load])
def test_workdirs_are_of_this_machine_whoever_names_them(monkeypatch, tmp_path, load):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=f"{tmp_path}/run is not a workdir"):
        load("~/run")
    with pytest.raises(ValueError, match="gs:// isn't supported"):
        load("gs://bucket/run")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_would_be_those_of_others_are_refused(seed):
    with pytest.raises(ValueError, match=f"^seed={seed} must be a whole number, at least 0 and at most 4294967295"):
        sampling_lib.draw(_stage(), 1, seed=seed)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("inpaint", "{ok}:{none}", "there is no file .*none.png"),
        ("inpaint", "{none}:{ok}", "there is no file .*none.png"),
        ("inpaint", "{ok}:{flat}", "the mask .*flat.png has .* the same proportions"),
        ("inpaint", "{ok}:{folder}", "folder can't be read: is a directory"),
        ("inpaint", "{ok}:{text}", "text.png is no image that Pillow can read"),
        ("inpaint", "{ok}", "write IMAGE:MASK"),
        ("outpaint", "{none}:1,1", "there is no file .*none.png"),
        ("sdedit", "{lfs}:0.5", "lfs.png is a git-lfs pointer"),
        ("interpolate", "{ok}:{none}", "there is no file .*none.png"),
        ("sdedit", "gs://b/x.png:0.5", "gs:// isn't supported"),
        ("variations", "{none}:1", "there is no file .*none.png"),
        ("blend", "{ok}:{text}", "text.png is no image"),
        ("text_diff", "{none}:a cat:a dog", "there is no file .*none.png"),
        ("guide", "image:{none}:1", "there is no file .*none.png"),
        ("guide", "style:{text}:1", "text.png is no image"),
        ("guide", "features:{folder},{none}:1", "there is no file .*none.png"),
        ("guide", "features:{folder},{ok}:1", "folder is not a workdir of genjax"),
        ("guide", "classifier:{folder}:1", "folder is not a workdir of genjax"),
        ("guide", "classifier:{run}:1", "run holds no checkpoint yet"),
        ("guide", "clip:{none},a cat:1", "none.png is not a workdir of genjax"),
        ("guide", "text:gs://b/x,a cat:1", "gs:// isn't supported"),
        ("rerank", "{folder}:4", "folder is not a workdir of genjax"),
        ("stage", "first:{none}", "there is no folder .*none.png"),
    ],
)
def test_what_flags_name_is_looked_at_before_anything_is_loaded(tmp_path, name, text, words):
    for image, size in (("ok.png", (8, 8)), ("flat.png", (8, 4))):
        Image.new("L", size).save(tmp_path / image)
    (tmp_path / "text.png").write_text("a cat")
    (tmp_path / "lfs.png").write_text("version https://git-lfs.github.com/spec/v1\noid")
    (tmp_path / "folder").mkdir()
    (tmp_path / "run").mkdir()
    parts = '"data": {}, "model": {}, "sampling": {}, "optimizer": {}, "training": {}'
    (tmp_path / "run" / "config.json").write_text(f'{{"family": "toy", {parts}}}')
    files = {one: tmp_path / f"{one}.png" for one in ("ok", "flat", "text", "lfs", "none")}
    text = text.format(**files, folder=tmp_path / "folder", run=tmp_path / "run")
    value = [text] if name in ("guide", "stage") else text
    with (
        _requested(**{name: value}),
        pytest.raises(ValueError, match=f"^--{name}={re.escape(text)}.*{words}") as error,
    ):
        SAMPLING.load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prompt", ["a\0b", "\udce9"])
def test_prompts_are_looked_at_before_anything_is_loaded(tmp_path, prompt):
    with _requested(prompt=[prompt]), pytest.raises(ValueError, match="prompt|no UTF-8"):
        SAMPLING.load()
    with _requested(prompts_file=str(tmp_path / "none.txt")), pytest.raises(ValueError, match="none.txt"):
        SAMPLING.load()


def test_what_is_right_goes_on_to_the_workdir(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "ok.png")
    with _requested(inpaint=f"{tmp_path}/ok.png:{tmp_path}/ok.png"), pytest.raises(ValueError, match="runs/any is not"):
        SAMPLING.load()
