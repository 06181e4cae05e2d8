"""`genjax-train` from its flags to its last checkpoint: nothing is opened, parsed or built twice."""

from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import pytest

from genjax import sharding, stages
from genjax.configs.recipes import common
from genjax.data import encoded, folder, loader, tokenizers
from genjax.families import registry
from genjax.families.interfaces import ImageSampler, Samples
from genjax.training import workdir
from genjax.training.checkpoint import Checkpoints
from tests.launcher.programs_test import run  # noqa: F401  a fixture
from tests.training import toy

ASKED = Counter()
"""How often the config was made."""


def build(name, model, sampling, spec, parents):
    """The toy family, which draws for captions."""

    def sample(weights, conditions, index, key):
        return Samples(jnp.zeros((len(index), *spec.image_shape)))

    interface = ImageSampler(sample, spec.image_shape, 0, text_length=spec.text_length)
    return toy.family()._replace(interface=interface)


def make_config(drawn_folder):
    """A run on captioned images which evaluates and draws at its end."""
    config = common.base()
    config.family = "vae"  # a name that there is; `build` stands for it
    config.data.update(name=f"folder:{drawn_folder}", image_size=16, batch_size=8)
    config.data.tokenizer = common.bpe(vocab_size=300, length=24)
    config.optimizer = {"model": common.adam(0.1)}
    config.training.num_steps = 2
    config.checkpoint.every = 1
    config.log.update(every=1, eval_every=1, sample_every=1, num_samples=4)
    config.stages = {}
    return config


@pytest.fixture
def counted(monkeypatch):
    """Counts calls by the name of the function and what it is called for."""
    counts = Counter()

    def count(owner, name, key=lambda *args, **named: ""):
        before = getattr(owner, name)

        def counting(*args, **named):
            counts[f"{name} {key(*args, **named)}".strip()] += 1
            return before(*args, **named)

        monkeypatch.setattr(owner, name, counting)

    def place(path, *_, **__):
        return "/".join(Path(path).parts[-2:])

    monkeypatch.setattr(registry, "build", build)
    count(registry, "build", lambda *args: f"on {len(args[-1])} parents")
    count(sharding, "make_mesh")
    count(loader, "read_fields")
    count(tokenizers, "make", lambda settings, *_: place(settings["file"]) if settings.get("file") else "of captions")
    count(folder, "walk")
    count(folder.layout, "understand")
    count(folder.scan, "scan")
    count(folder.Folder, "open", lambda _, split: split)
    count(encoded, "read_manifest")
    count(workdir, "read_json", place)
    count(Checkpoints, "__init__", lambda _, path, *args, **named: place(path))
    return counts


def test_a_run_opens_each_thing_once(run, counted, drawn_folder, tmp_path, monkeypatch):  # noqa: F811
    stages.train(make_config(drawn_folder), tmp_path / "parent")
    monkeypatch.setattr("tests.launcher.once_test.ASKED", Counter())
    (tmp_path / "config.py").write_text(
        f"""
from tests.launcher import once_test
def get_config():
    once_test.ASKED["config"] += 1
    config = once_test.make_config({str(drawn_folder)!r})
    config.stages = {{"first": {{"workdir": {str(tmp_path / "parent")!r}}}}}
    return config
"""
    )
    folder._look.cache_clear()
    counted.clear()
    run("train", f"--config={tmp_path / 'config.py'}")
    images = {"make_mesh", "read_fields", "make of captions", "walk", "understand", "scan", "open train", "open test"}
    of_parent = {"read_json parent/config.json", "read_json parent/stage.json", "make parent/vocabulary"}
    built = {"build on 0 parents", "build on 1 parents", "__init__ parent/checkpoints", "__init__ w/checkpoints"}
    assert counted == dict.fromkeys(images | of_parent | built, 1) and ASKED == {"config": 1}

    counted.clear()
    run("train", f"--config={tmp_path / 'config.py'}", "--config.training.num_steps=3")
    images = images - {"make of captions", "understand", "scan"} | {"make w/vocabulary"}
    of_run = {"read_json w/config.json", "read_json w/stage.json"}
    assert counted == dict.fromkeys(images | of_parent | of_run | built, 1) and ASKED == {"config": 2}
