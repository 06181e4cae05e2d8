import os
from pathlib import Path

import pytest

from genjax.core import paths


def test_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.local("~/runs/x") == tmp_path / "runs" / "x"
    assert paths.local("~root") == Path(os.path.expanduser("~root"))
    assert paths.local("a/~/b") == Path("a/~/b")


@pytest.mark.parametrize("text", ["~nobody-of-this-name/x", "~nobody-of-this-name"])
def test_an_unknown_home_is_refused(text):
    with pytest.raises(ValueError, match="no home folder for '~nobody-of-this-name'"):
        paths.local(text)


def test_no_home_at_all(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where neither HOME nor passwd has one
    with pytest.raises(ValueError, match="no home folder for '~'"):
        paths.local("~/runs")


@pytest.mark.parametrize("text", ["gs://b/x", "s3://b", "hdfs://h/x", "gs:/b/x", "GS://b", "https://h/x", "folder:/x"])
def test_other_storage_is_refused(text):
    with pytest.raises(ValueError, match=f"{text.partition(':')[0]}:// isn't supported, only local files"):
        paths.local(text)


NO_PATHS = [
    ("", "empty"),
    (" ", "empty"),
    ("a\0b", "NUL"),
    ("file:///a/b", " /a/b$"),
    ("runs/x\n", "control character"),
    ("runs\t/x", "control character"),
    ("C:\\runs\\x", "path of Windows"),
    ("\\\\server\\share", "path of Windows"),
    ("$HOME/x", "the shell has not filled in"),
    ("${SCRATCH}", "the shell has not filled in"),
]


@pytest.mark.parametrize(("text", "words"), NO_PATHS)
def test_what_is_no_path(text, words):
    with pytest.raises(ValueError, match=words):
        paths.local(text)


def test_colons_that_are_no_scheme():
    assert paths.local("a$b/c") == Path("a$b/c")
    assert paths.local("run:3") == Path("run:3") and paths.local("./gs:/x") == Path("gs:/x")


def test_a_folder_to_write_to(tmp_path, monkeypatch):
    assert paths.writable_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for wrong, words in {
        "file": "file is a file, and a folder is needed",
        "file/run": "file is a file, and a folder is needed",
        "link": "link is a link to .*gone, which isn't there",
        "a" * 300: "can't be used: File name too long",
    }.items():
        with pytest.raises(ValueError, match=words):
            paths.writable_folder(tmp_path / wrong)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} can't be written to"):
        paths.writable_folder(tmp_path / "a" / "b")


def test_a_folder_relative_to_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.writable_folder("x/y") == Path("x/y")
    assert paths.writable_folder(".") == Path(".")
