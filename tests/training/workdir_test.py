"""What a workdir says, and when it belongs to another config."""

import functools
import json
import subprocess
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import genjax
from genjax.configs.recipes import common
from genjax.training import nesting, versions, workdir
from genjax.typing import DataSpec


def config(**changes):
    made = ConfigDict({"family": "toy", "seed": 0, "data": {"name": "digits", "size": (8, 8)}, "log": {"every": 5},
                       "training": {"num_steps": 10}, "model": {}, "sampling": {}, "optimizer": {}})  # fmt: skip
    with made.unlocked():
        made.update(changes)
    return made


def test_a_claimed_workdir_gives_its_config_back(tmp_path):
    workdir.claim(tmp_path / "w", config(), interface=())
    assert workdir.read_config(tmp_path / "w").data.name == "digits"
    stage = json.loads((tmp_path / "w" / "stage.json").read_text())
    assert stage["family"] == "toy" and {"genjax", "jax", "flax"} <= stage["versions"].keys()


def test_the_data_of_a_claimed_workdir_is_read_back_equal(tmp_path):
    """Tuples stay tuples: an equal description is how a guide or a resumed run knows the same data."""
    spec = DataSpec((8, 8, 1), num_classes=2, class_names=("cat", "dog"))
    workdir.claim(tmp_path, config(), interface=(), spec=spec)
    assert workdir.read(tmp_path).spec == spec


def test_what_may_change_and_what_may_not(tmp_path):
    workdir.check_config(workdir.read(tmp_path), config())
    workdir.claim(tmp_path, config(), interface=())
    workdir.check_config(workdir.read(tmp_path), config())
    workdir.check_config(workdir.read(tmp_path), config(log={"every": 1}, training={"num_steps": 20}))
    with pytest.raises(ValueError, match=r"data.name: digits there, mnist here; seed: 0 there, 1 here"):
        workdir.check_config(workdir.read(tmp_path), config(seed=1, data={"name": "mnist"}))
    with pytest.raises(ValueError, match="width: absent there, 3 here"):
        workdir.check_config(workdir.read(tmp_path), config(width=3))


def test_how_data_is_read_and_where_its_folder_lies_may_change(tmp_path):
    pets = {"name": "folder:/a/pets", "size": (8, 8), "num_workers": 0, "read_threads": 2}
    workdir.claim(tmp_path, config(data=pets), interface=())
    workdir.check_config(
        workdir.read(tmp_path), config(data=pets | {"num_workers": 4, "read_threads": 1, "name": "folder:~/pets"})
    )
    with pytest.raises(ValueError, match="data.name: folder:/a/pets there, digits here"):
        workdir.check_config(workdir.read(tmp_path), config(data=pets | {"name": "digits"}))
    with pytest.raises(ValueError, match="data.size: .*8, 8.* there, .*4, 4.* here"):
        workdir.check_config(workdir.read(tmp_path), config(data=pets | {"size": (4, 4)}))


@pytest.mark.parametrize("step", [0, 9, 10])
def test_a_run_may_be_run_again_up_to_its_end_and_at_it(tmp_path, step):
    workdir.claim(tmp_path, config(), interface=())
    workdir.check_resumed(workdir.read(tmp_path), config(), step)
    with pytest.raises(ValueError, match=f"num_steps=10, but the run in .* is at step {step + 11} already"):
        workdir.check_resumed(workdir.read(tmp_path), config(), step + 11)


def test_no_workdir(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        workdir.read_config(tmp_path)


def _checkout(folder):
    """A git repository with one commit; returns the commit."""
    folder.mkdir(parents=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"], ["rev-parse", "HEAD"]):
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_our_own_checkout_alone(tmp_path, monkeypatch):
    commit = _checkout(tmp_path / "genjax")
    for place, expected in {
        "genjax/genjax/training": commit,
        "genjax/.venv/site-packages/genjax/training": None,  # installed within another project's checkout
        "elsewhere/genjax/training": None,
    }.items():
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.setattr(versions, "__file__", str(tmp_path / place / "versions.py"))
        assert versions.commit() == expected, place


def test_another_repository_in_the_environment_is_not_ours(tmp_path, monkeypatch):
    commit = _checkout(tmp_path / "genjax")
    _checkout(tmp_path / "other")
    (tmp_path / "genjax" / "genjax" / "training").mkdir(parents=True)
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "genjax" / "genjax" / "training" / "versions.py"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert versions.commit() == commit


def test_no_git_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.commit() is None
    (tmp_path / "git").write_text("#!/bin/false\n")
    (tmp_path / "git").chmod(0o755)
    assert versions.commit() is None, "a git that refuses, as of a checkout that is another user's"


MAY_CHANGE = {
    "init_from",
    *(f"data.{name}" for name in ("data_dir", "eval_split", "max_broken", "encoded", "num_workers", "read_threads")),
    "data.tokenizer.file",
    *(f"training.{name}" for name in ("num_steps", "on_nonfinite", "max_nonfinite", "attention")),
    *(f"optimizer.model.{name}" for name in ("learning_rate", "clip_norm", "decay_steps")),
    *(f"mesh.{name}" for name in ("data", "fsdp", "tensor")),
    *(f"checkpoint.{name}" for name in ("every", "keep")),
    *(f"log.{name}" for name in ("every", "sample_every", "eval_every", "num_samples")),
}
"""Fields of every run that a resumed one may have otherwise; of those that are no numbers of what is trained."""


def test_no_other_field_may_change_when_a_run_is_resumed(tmp_path):
    base = common.base()
    base.optimizer.model, base.data.tokenizer = common.adam(1e-3), common.bpe()
    workdir.claim(tmp_path, base, ())
    changed = set()
    for name, value in workdir.flatten(base.to_dict()).items():
        if isinstance(value, dict):
            continue
        other = base.copy_and_resolve_references()
        *sections, field = name.split(".")
        another = not value if isinstance(value, bool) else "else" if isinstance(value, str) else value + 1
        functools.reduce(getattr, sections, other)[field] = another
        try:
            workdir.check_config(workdir.read(tmp_path), other)
            changed.add(name)
        except ValueError as error:
            assert f"{name}: " in str(error)
    assert changed == MAY_CHANGE


def test_what_is_to_change_after_a_bad_end_may_change(tmp_path):
    workdir.claim(tmp_path, config(optimizer={"model": {"learning_rate": 0.1, "clip_norm": 0.0, "b1": 0.9}}), ())
    may = {"learning_rate": 0.01, "clip_norm": 1.0, "b1": 0.9}
    workdir.check_config(
        workdir.read(tmp_path), config(optimizer={"model": may}, training={"num_steps": 10, "on_nonfinite": "skip"})
    )
    with pytest.raises(ValueError, match="optimizer.model.b1: 0.9 there, 0.5 here"):
        workdir.check_config(workdir.read(tmp_path), config(optimizer={"model": may | {"b1": 0.5}}))


@pytest.mark.parametrize("content", ['{"family": "to', "", "null", "[1]", "\x00\x00", "\xff"])
@pytest.mark.parametrize("name", ["config.json", "stage.json", "pipeline.json"])
def test_a_cut_file_is_named(tmp_path, name, content):
    workdir.claim(tmp_path, config(), interface=())
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    read = {"config.json": workdir.read_config, "stage.json": workdir.read, "pipeline.json": nesting.locate}[name]
    with pytest.raises(ValueError, match=f"{name} (is cut or altered|holds|is an empty file|is a file of zeros)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"architectures": ["BertModel"], "hidden_size": 8}', "is not the config of a run of genjax: it lacks family"),
        ('{"family": "diffusion"}', "is not the config of a run of genjax: it lacks family or one of data"),
        ('{"family": "a", "data": [], "model": {}, "sampling": {}, "optimizer": {}, "training": {}}', "is not"),
        ("[" * 100_000, "is cut or altered"),
    ],
)
def test_another_programs_config_is_named(tmp_path, content, words):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"config.json {words}"):
        workdir.read_config(tmp_path)


def test_a_cut_config_is_named_at_resume_too(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is cut"):
        workdir.check_config(workdir.read(tmp_path), config())


@pytest.mark.parametrize("read", [workdir.read_config, workdir.read])
@pytest.mark.parametrize(
    ("noted", "words"),
    [
        ({"format": 99, "versions": {"genjax": "7.8"}, "commit": "abc"},
         r"of format 99.* reads format \d+: use genjax 7.8 \(commit abc\)"),
        ({"format": 99, "versions": {"genjax": "7.8"}, "commit": None}, "use genjax 7.8, or train anew"),
        ({"versions": {"genjax": "0.1.0"}}, "of format none.*use genjax 0.1.0"),
        ({"format": True, "versions": {"genjax": "0.1.0"}}, "of format True.*use genjax 0.1.0"),
        ({"format": 99, "versions": "7.8"}, "use the version that wrote it, which it does not name"),
        ({}, "use the version that wrote it"),
    ],
)  # fmt: skip
def test_a_workdir_of_another_format_is_refused(tmp_path, read, noted, words):
    """In one line, with the version that reads it, before its config is read, which may mean other things."""
    workdir.claim(tmp_path, config(), interface=())
    (tmp_path / "stage.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match=words) as refused:
        read(tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_claimed_workdir_notes_format_and_version(tmp_path):
    workdir.claim(tmp_path, config(), interface=())
    stage = json.loads((tmp_path / "stage.json").read_text())
    assert stage["format"] == workdir.FORMAT and stage["versions"]["genjax"] == genjax.__version__


def test_data_of_another_version_is_named(tmp_path):
    noted = {"format": workdir.FORMAT, "data": {"image_shape": [8, 8, 1], "depth": 3}}
    (tmp_path / "stage.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match="stage.json says of the data .*depth"):
        assert workdir.read(tmp_path).spec


def chain(root):
    """A parent and a child beside it, as `claim` notes them; the child was started from the folder `root`."""
    workdir.claim(root / "chain" / "parent", config(), interface=())
    (root / "chain" / "parent" / "codes").mkdir()
    child = config(stages={"parent": {"workdir": "chain/parent"}}, data={"encoded": "chain/parent/codes"})
    workdir.claim(root / "chain" / "child", child, interface=())
    return root / "chain" / "child"


def test_parents_are_found_wherever_the_chain_is_moved_or_seen_from(tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    chain(tmp_path / "first")
    (tmp_path / "first" / "chain").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "moved" / "child")
    monkeypatch.chdir(tmp_path)
    for child in (tmp_path / "moved" / "child", Path("moved/child"), tmp_path / "elsewhere" / "link"):
        found = workdir.read_config(child)
        assert found.stages.parent.workdir == "../parent"
        assert Path(found.data.encoded).samefile(tmp_path / "moved" / "parent" / "codes")
        assert workdir.find(found.stages.parent.workdir, child).samefile(tmp_path / "moved" / "parent")
        codes = workdir.data_settings(child, found)["encoded"]
        assert Path(codes).samefile(tmp_path / "moved" / "parent" / "codes")


def test_a_parent_elsewhere_is_noted_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir.claim(tmp_path / "a" / "b" / "parent", config(), interface=())
    workdir.claim(tmp_path / "c" / "d" / "w", config(stages={"parent": {"workdir": "a/b/parent"}}), interface=())
    noted = workdir.read_config(tmp_path / "c" / "d" / "w").stages.parent.workdir
    assert noted == str(tmp_path / "a" / "b" / "parent")
