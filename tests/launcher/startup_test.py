"""How programs start: where compiled programs are kept, and what becomes of what people type, in this process."""

import os
from pathlib import Path

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from genjax.configs import ddpm_digits
from genjax.core.ranges import AT_LEAST_0
from genjax.launcher import parsing, startup
from genjax.launcher.flags import define_choice, define_numbers, define_path

startup.define_config()
define_path("folder", "A folder of these tests.", writes=True)
define_choice("kind", ("one", "two"), "A choice of these tests.")
define_numbers("noise", [0.0], "Numbers of these tests.", AT_LEAST_0)
TINY = "--config=configs/ddpm_digits.py:tiny"


@pytest.fixture(autouse=True)
def kept(monkeypatch, root):
    """Flags and jax's cache are as they were."""
    monkeypatch.chdir(root)
    before = jax.config.jax_compilation_cache_dir
    with flagsaver.flagsaver():
        yield
    jax.config.update("jax_compilation_cache_dir", before)


def _parse(monkeypatch, *words):
    others = ["--workdir=runs/any"] if "workdir" in flags.FLAGS else []  # a required flag of the tests beside these
    return parsing.parse(["program", *others, *words])


def _error(capsys):
    """The one line that is told."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--config is missing"),
        (["--config="], "--config=: the path is empty"),
        (["--config=configs/nothing.py"], "there is no config file configs/nothing.py"),
        (["--config=configs/recipes/common.py"], "configs/recipes/common.py has no get_config()"),
        (["--config=configs/ddpm_digits.py:huge"], "unknown variant 'huge'"),
        (["--config.seed=3"], "--config is missing"),
        (["--config.seed=3", "--workdr=x"], "unknown flag --workdr"),
        ([TINY, "--config.training.nun_steps=3"], "nun_steps; is it --config.training.num_steps?"),
        ([TINY, "--config.nothing.x=3"], "unknown config field --config.nothing.x: config has checkpoint, data, "),
        ([TINY, "--config.training.num_steps=abc"], "--config.training.num_steps=abc"),
        ([TINY, "--config.training.num_steps=1.5"], "--config.training.num_steps=1.5: must be a whole number"),
        (["--config.training.num_steps=1e4", TINY], "--config.training.num_steps=1e4: must be a whole number: write 1"),
        ([TINY, "--config.seed=1e20"], "--config.seed=1e20"),
        ([TINY, "--config.data.flip=maybe"], "--config.data.flip=maybe"),
        ([TINY, "--config.training=3"], "--config.training=3"),
        ([TINY, "--config.data.name.x=3"], "unknown config field --config.data.name.x"),
        ([TINY, "--config.seed"], "--config.seed"),
        ([TINY, "--no_such_flag"], "unknown flag --no_such_flag; --help lists the flags"),
        ([TINY, "--fodler=x"], "unknown flag --fodler; is it --folder?"),
        ([TINY, "--Folder=x"], "unknown flag --Folder; is it --folder?"),
        ([TINY, "--folder"], "--folder has no value: write --folder=VALUE"),
        ([TINY, "--kind=three"], "--kind=three: must be one of one, two"),
        ([TINY, "--kind=tow"], "--kind=tow: must be one of one, two; is it two?"),
        ([TINY, "--traceback=maybe"], "--traceback=maybe: must be true or false"),
        ([TINY, "--notraceback=1"], "notraceback"),
        ([TINY, "--num_processes=2.5"], "--num_processes=2.5: must be a whole number, at least 1"),
        ([TINY, "--num_processes=1e1"], "--num_processes=1e1: must be a whole number, at least 1: write 10"),
        ([TINY, "--flagfile=/no/such/file"], "/no/such/file"),
        ([TINY, "--folder=gs://bucket/x"], "--folder=gs://bucket/x: gs:// isn't supported"),
        ([TINY, "--folder="], "--folder=: the path is empty"),
        ([TINY, "--folder=README.md"], "README.md is a file, and a folder is needed"),
        ([TINY, "--noise=nan"], "--noise=nan: must be a finite number, at least 0"),
        ([TINY, "--noise=-1"], "--noise=-1: must be"),
    ],
)
def test_what_is_typed_wrong_is_one_line(monkeypatch, capsys, words, told):
    with pytest.raises(SystemExit) as ended:
        _parse(monkeypatch, *words)
    assert ended.value.code == 1
    assert told in _error(capsys)


def test_fields_are_overridden_and_homes_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    _parse(monkeypatch, TINY, "--config.seed=7", "--folder=~/x", "--noise=1", "--noise=2.5")
    assert flags.FLAGS.config.seed == 7 and flags.FLAGS.config.family == ddpm_digits.get_config().family
    assert flags.FLAGS.folder == tmp_path / "x" and flags.FLAGS.noise == [1.0, 2.5]
    with pytest.raises(AttributeError):
        flags.FLAGS.config.sead = 3  # locked


def _call(monkeypatch, error, **chosen):
    """What becomes of an error of a program's `main`."""
    monkeypatch.setattr(startup, "keep_compiled", lambda: None)
    flags.FLAGS.mark_as_parsed()

    def main():
        raise error

    with flagsaver.flagsaver(**chosen), pytest.raises(SystemExit) as ended:
        startup._call(main, ["program"])
    return ended.value.code


@pytest.mark.parametrize("error", [ValueError("a\n  long\nstory"), OSError("a long story")])
def test_a_mistake_of_a_person_is_one_line(monkeypatch, capsys, error):
    assert _call(monkeypatch, error) == 1
    assert _error(capsys) == "error: a long story"


def test_a_mistake_of_ours_says_so(monkeypatch, capsys):
    assert _call(monkeypatch, KeyError("x")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-1].startswith("error: unexpected KeyError, a mistake in genjax")


def test_no_memory_is_no_mistake(monkeypatch, capsys):
    assert _call(monkeypatch, RuntimeError("RESOURCE_EXHAUSTED: 9 GiB")) == 1
    assert "out of memory" in _error(capsys)


def test_a_stop_by_the_keyboard(monkeypatch, capsys):
    assert _call(monkeypatch, KeyboardInterrupt()) == 130
    assert _error(capsys) == "error: interrupted"


def test_flags_of_many_processes_need_the_one_that_says_so(monkeypatch, capsys):
    monkeypatch.setattr(startup, "keep_compiled", lambda: None)
    flags.FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(num_processes="2", coordinator="host:1"), pytest.raises(SystemExit):
        startup._call(lambda: None, ["program"])
    assert "--coordinator and --num_processes would do nothing" in _error(capsys)


def test_devices_that_are_not_there_are_one_line(monkeypatch, capsys):
    def devices():
        raise RuntimeError("Unable to initialize backend 'abacus'")

    monkeypatch.setattr(jax, "devices", devices)
    assert _call(monkeypatch, AssertionError) == 1
    assert _error(capsys) == "error: jax can't start: Unable to initialize backend 'abacus'"


def _cache(**chosen):
    flags.FLAGS.mark_as_parsed()
    jax.config.update("jax_compilation_cache_dir", "before")
    with flagsaver.flagsaver(**chosen):
        startup.keep_compiled()
    return jax.config.jax_compilation_cache_dir


def test_the_cache_is_the_flags_else_the_persons_else_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert _cache() == str(tmp_path / ".cache" / "genjax" / "xla")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "theirs")
    assert _cache() == "before", "jax has read it itself"
    assert _cache(compilation_cache="~/mine") == str(tmp_path / "mine")
    assert _cache(compilation_cache="") == "before"
    with pytest.raises(ValueError, match="--compilation_cache=gs://b: gs:// isn't supported"):
        _cache(compilation_cache="gs://b")


def _no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("kind", ["no home", "a file", "not to be written"])
def test_without_a_cache_it_goes_on_with_a_word(monkeypatch, tmp_path, capsys, kind):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if kind == "no home":
        monkeypatch.setattr(Path, "home", _no_home)
    elif kind == "a file":
        (tmp_path / ".cache").write_text("")
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert _cache() == "before"
    said = capsys.readouterr().err
    assert said.startswith("note: compiled programs aren't kept") and "--compilation_cache=DIR" in said
