"""The look at all images at the start: cheap, honest, and remembered."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from genjax.data import scan, sources
from tests.data.own_images import paint, read


@pytest.fixture
def decoded(monkeypatch):
    """Names of the images that were decoded whole."""
    names, decode = [], scan.transforms.decode

    def noting(image, name=""):
        names.append(os.path.basename(image))
        return decode(image, name)

    monkeypatch.setattr(scan.transforms, "decode", noting)
    return names


@pytest.fixture
def opened(monkeypatch):
    """Names of the images whose headers were read."""
    names, look_at = [], scan.look_at

    def noting(path, decode):
        names.append(os.path.basename(path))
        return look_at(path, decode)

    monkeypatch.setattr(scan, "look_at", noting)
    return names


def test_only_a_spread_of_a_large_folder_is_decoded(tmp_path, monkeypatch, decoded):
    for number in range(9):
        paint(tmp_path / f"{number}.png")
    cut = paint(tmp_path / "3.png", size=(64, 64))
    Image.effect_noise((64, 64), 90).save(cut)
    cut.write_bytes(cut.read_bytes()[:-300])
    (tmp_path / "5.png").write_bytes(b"no image")
    monkeypatch.setattr(scan, "CHECKED", 3)
    source = sources.open_source(f"folder:{tmp_path}", "all")
    assert sorted(decoded) == ["0.png", "4.png", "5.png", "8.png"]  # and to say what the fifth is
    assert len(source.records) == 8 and source.about.skipped == 1  # headers are read of all
    assert source.about.sizes == ((20, 16),) * 3 + ((64, 64),) + ((20, 16),) * 4


def look(tmp_path, *names):
    return scan.scan(str(tmp_path), [str(tmp_path / name) for name in names])


def test_what_was_seen_is_kept_for_unchanged_files(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(scan, "_KEPT_AFTER", -1)
    for name in ("a.png", "b.png", "c.png"):
        paint(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"broken")
    first = look(tmp_path, "a.png", "b.png", "c.png")
    assert first[0] == scan.Look(20, 16, decoded=True) and first[1].problem == "it is no image that Pillow can read"
    assert sorted(opened) == ["a.png", "b.png", "c.png"]
    opened.clear()
    assert look(tmp_path, "a.png", "b.png", "c.png") == first and not opened
    paint(tmp_path / "b.png", size=(9, 9))
    os.utime(tmp_path / "c.png", ns=(1, 1))
    assert look(tmp_path, "a.png", "b.png", "c.png")[1] == scan.Look(9, 9, decoded=True)
    assert sorted(opened) == ["b.png", "c.png"]


def test_an_index_that_is_broken_or_of_another_pillow_is_made_anew(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(scan, "_KEPT_AFTER", -1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paint(tmp_path / "a.png")
    first = look(tmp_path, "a.png")
    index = next((tmp_path / "cache/genjax/folders").iterdir())
    contents = json.loads(index.read_text())
    other = json.dumps(contents | {"made_by": "1, Pillow 1.0"})
    for text in ("{", "[]", "null", '{"made_by": 3}', json.dumps(contents | {"files": 3}), other):
        index.write_text(text)
        opened.clear()
        assert look(tmp_path, "a.png") == first and opened == ["a.png"], text


def test_what_may_pass_is_not_kept(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(scan, "_KEPT_AFTER", -1)
    path = str(paint(tmp_path / "a.png"))
    real = Image.open

    def refusing(file, *rest):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Image, "open", refusing)
    assert look(tmp_path, "a.png")[0].problem == "permission denied"
    monkeypatch.setattr(Image, "open", real)
    assert look(tmp_path, "a.png")[0] == scan.Look(20, 16, decoded=True)


def test_the_index_changes_no_examples(tmp_path, monkeypatch):
    """An image that was decoded when the folder was small counts as all others do when it is large."""
    monkeypatch.setattr(scan, "_KEPT_AFTER", -1)
    names = [f"{number}.png" for number in range(9)]
    for name in names:
        paint(tmp_path / name)
    cut = tmp_path / "3.png"
    Image.effect_noise((64, 64), 90).save(cut)
    cut.write_bytes(cut.read_bytes()[:-300])
    assert look(tmp_path, *names)[3].broken
    monkeypatch.setattr(scan, "CHECKED", 3)
    assert look(tmp_path, *names)[3] == scan.Look(64, 64)


@pytest.mark.parametrize("home", ["", "file", "relative"])
def test_without_a_place_for_the_index_a_word_is_said(tmp_path, monkeypatch, caplog, home):
    monkeypatch.setattr(scan, "_KEPT_AFTER", -1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", {"": "", "file": str(tmp_path / "file"), "relative": "here"}[home])
    monkeypatch.setattr(scan.os.path, "expanduser", lambda path: path)  # neither HOME nor an entry in passwd
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "pets/a.png")
    assert len(read(tmp_path / "pets")[1]) == 1
    assert "folder pets: what was seen of it can't be kept (" in caplog.text
    assert ("not a directory" if home == "file" else "there is no home folder") in caplog.text
    assert sorted(os.listdir(tmp_path)) == ["file", "pets"]


def test_a_quick_look_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paint(tmp_path / "pets/a.png")
    read(tmp_path / "pets")
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_seventy_thousand_images_in_seconds_the_second_time(tmp_path):
    contents = paint(tmp_path / "one.png", size=(32, 32)).read_bytes()
    for number in range(70_000):
        path = tmp_path / "pets" / f"{number % 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    seconds = []
    for _ in range(2):
        sources.folder._look.cache_clear()
        start = time.process_time()
        assert len(sources.open_source(f"folder:{tmp_path}/pets", "all").records) == 70_000
        seconds.append(time.process_time() - start)
    assert seconds[0] < 60 and seconds[1] < 10
    assert np.argmin(seconds) == 1
