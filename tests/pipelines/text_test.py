"""Stages that read texts: from captions to a workdir that knows its words, to prompts, and to what is encoded once."""

import json
import logging
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import stages
from genjax.configs.recipes import common
from genjax.core import images as images_lib
from genjax.data import encoded, loader
from genjax.families import registry
from genjax.families.interfaces import Conditions
from genjax.pipelines import cascade, encoding, prompts, sample_files
from genjax.pipelines import sampling as sampling_lib

WORDS = ("red", "green", "blue", "pink")


@pytest.fixture(scope="module", autouse=True)
def toy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.FAMILIES, "toy", "tests.pipelines.text_toy")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen images with a caption or two each, two of them held out."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(18):
        path = folder / ("test" if number >= 16 else "train") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
        texts = [f"a {WORDS[number % 4]} thing"] + [f"thing {WORDS[number % 4]}"] * (number % 2)
        path.with_suffix(".txt").write_text("\n".join(texts))
    return folder


def make(folder, kind="sampler", **tokenizer):
    config = common.base()
    config.family = "toy"
    config.data.update(name=f"folder:{folder}", image_size=4, batch_size=8)
    config.data.tokenizer = common.bpe(300, **{"length": 8, **tokenizer})
    config.model.kind = kind
    config.optimizer.model = common.adam(1e-3)
    config.sampling.batch_size = 8
    config.training.num_steps = 2
    config.log.update(every=1, sample_every=2, eval_every=0, num_samples=3)
    if kind != "sampler":
        config.log.sample_every = 0
    return config


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A workdir of a sampler."""
    workdir = tmp_path_factory.mktemp("runs") / "sampler"
    stages.train(make(folder), workdir)
    return workdir


def test_a_workdir_knows_its_words_without_the_data(folder, run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["tokenizer"]["file"] == "" and (run / "samples" / "step_2.png").is_file()
    assert {path.name for path in (run / "vocabulary").iterdir()} == {"tokenizer.json", "words.txt"}
    there = sampling_lib.draw(stages.load(run), 4, prompts=["a red thing", "blue"])
    shutil.copytree(run, tmp_path / "moved")
    config["data"]["name"] = "folder:/no/such/folder"
    (tmp_path / "moved" / "config.json").write_text(json.dumps(config))
    stage = stages.load(tmp_path / "moved")
    assert stage.spec == stages.load(run).spec and stage.spec.text_length == 8
    drawn = sampling_lib.draw(stage, 4, prompts=["a red thing", "blue"])
    np.testing.assert_array_equal(drawn.images, there.images)
    assert drawn.prompts == ("a red thing", "blue") * 2
    with pytest.raises(ValueError, match="give a prompt: there are no captions of these images to draw: .*such"):
        sampling_lib.draw(stage, 2)


def test_the_prompt_decides_and_is_kept_with_its_image(run, tmp_path):
    stage = stages.load(run)
    drawn = sampling_lib.draw(stage, 5, prompts=["A  red thing"] * 2 + ["a green thing"] * 2 + [""])
    table = np.asarray(stage.weights.params["model"]["table"])
    for image, prompt in zip(drawn.images, drawn.prompts):
        tokens = stage.tokenizer.encode(prompt)
        colour = table[tokens[tokens > 0]].mean(0) if tokens.any() else np.zeros(3)
        np.testing.assert_allclose(image, np.broadcast_to((colour + 1) * 127.5, (4, 4, 3)), atol=0.51)
    sampling_lib.save(tmp_path, drawn)
    again = sample_files.read(tmp_path / "samples.npz")
    assert again.prompts == drawn.prompts and again.labels is None
    np.testing.assert_array_equal(again.images, drawn.images)
    assert np.load(tmp_path / "samples.npz")["prompts"].dtype.kind == "U"


def test_without_a_prompt_held_out_captions_are_drawn(run):
    assert sampling_lib.draw(stages.load(run), 5).prompts == ("a red thing", "a green thing") * 2 + ("a red thing",)
    requested = prompts.for_images(stages.load(run), 3, split="train")
    assert requested == ("a red thing", "a green thing", "a blue thing"), "another split's, in the order of its images"


def test_what_a_prompt_loses_is_told_once(run, caplog):
    tokenizer = stages.load(run).tokenizer
    with caplog.at_level(logging.WARNING):
        rows = prompts.tokens(tokenizer, ["a red thing", "a red red red red red elephant walks"] * 2 + [" "])
    assert rows.shape == (5, 8) and not rows[4].any() and (rows[1] == rows[3]).all()
    told = [record.getMessage() for record in caplog.records if record.name.startswith("genjax")]
    assert told == [
        "the prompt 'a red red red red red elephant walks' is too long for 8 tokens and loses: elephant walks",
        "the prompt 'a red red red red red elephant walks' has words that no training caption has: elephant, walks",
        "the empty prompt requests nothing: its images are drawn without a condition",
    ]


def test_a_run_goes_on_with_the_words_that_it_began_with(folder, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(folder, tmp_path / "images")
    (tmp_path / "images" / "train" / "00.txt").write_text("zebra zebra zebra")
    config = make(folder)
    config.training.num_steps = 3
    before = stages.load(tmp_path / "run").tokenizer.checksum
    stages.train(config, tmp_path / "run")
    assert stages.load(tmp_path / "run").tokenizer.checksum == before
    changed = loader.Data(make(tmp_path / "images").data.to_dict()).tokenizer
    assert changed.checksum != before, "what it would have been"


@pytest.mark.parametrize("kind", ["language", "codes", pytest.param("clip", marks=pytest.mark.slow)])
def test_what_is_cached_is_what_is_made_live(folder, tmp_path, kind):
    stages.train(make(folder, kind), tmp_path / "parent")
    stage = stages.load(tmp_path / "parent")
    manifest = encoding.encode(stage, tmp_path / "encoded")
    assert manifest.counts == {"train": 16, "test": 2} and manifest.texts
    settings = stage.config.data.to_dict()
    run = encoding.encoder(stage.family.interface, "toy")
    cached = loader.Data(settings | {"encoded": str(tmp_path / "encoded")}).eval_batches("train")
    for live, batch in zip(loader.Data(settings).eval_batches("train"), cached, strict=True):
        for name, array in run(stage.weights, {name: jnp.asarray(live[name]) for name in ("image", "tokens")}).items():
            np.testing.assert_array_equal(np.asarray(array, batch[name].dtype), batch[name])
        for name in ("tokens", "text", "mask"):
            np.testing.assert_array_equal(live[name], batch[name])
        assert ("image" in batch) == (kind != "codes")
    if kind == "language":
        assert manifest.dtypes["text_states"] == "float16"
        assert not batch["text_states"][batch["tokens"] == 0].any()
    settings = settings | {"encoded": str(tmp_path / "encoded")}
    with loader.Data(settings).train_iterator(0) as batches:
        texts = {text for _ in range(8) for text in next(batches)["text"]}
    assert (len(texts) == 6) == (kind == "codes"), "beside codes all captions are kept"
    assert encoding.encode(stage, tmp_path / "encoded") == encoded.read_manifest(tmp_path / "encoded")


def test_a_parent_has_to_read_captions_alike(folder, tmp_path):
    stages.train(make(folder, "language"), tmp_path / "language")
    child = make(folder, length=6)
    child.stages.text = {"workdir": str(tmp_path / "language")}
    with pytest.raises(ValueError, match="stages.text.workdir makes other tokens .*'length': 8"):
        stages.train(child, tmp_path / "child")
    child.data.tokenizer.length = 8
    stages.train(child, tmp_path / "child")
    assert sampling_lib.draw(stages.load(tmp_path / "child"), 1, prompts=["a red thing"]).images.shape == (1, 4, 4, 3)


def test_a_cascade_tells_all_its_stages_the_prompt(folder, run, tmp_path):
    stages.train(make(folder, "larger"), tmp_path / "larger")
    base, larger = stages.load(run), stages.load(tmp_path / "larger")
    stage = cascade.join({"base": base, "larger": larger})
    drawn = sampling_lib.draw(stage, 2, prompts=["a red thing", "green"])
    tokens = prompts.tokens(base.tokenizer, drawn.prompts)
    small = sampling_lib.draw(base, 2, prompts=drawn.prompts).images
    conditions = Conditions(tokens=jnp.asarray(tokens), low_res=jnp.asarray(images_lib.from_uint8(small)))
    expected = larger.family.interface.sample(larger.weights, conditions, jnp.arange(2), None).images
    np.testing.assert_array_equal(drawn.images, images_lib.to_uint8(expected))
    other = larger._replace(tokenizer=loader.Data(make(folder, length=7).data.to_dict()).tokenizer)
    with pytest.raises(ValueError, match=r"\['base', 'larger'\] make different tokens of a text"):
        cascade.join({"base": base, "larger": other})


def test_a_file_of_prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red thing\n\n  blue \n")
    assert prompts.read_file(tmp_path / "prompts.txt") == ["a red thing", "blue"]
    (tmp_path / "empty.txt").write_text("\n")
    for path, words in ((tmp_path / "no.txt", "can't read prompts from"), (tmp_path / "empty.txt", "has no prompts")):
        with pytest.raises(ValueError, match=words):
            prompts.read_file(path)
