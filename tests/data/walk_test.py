"""What lies below a folder: links, junk, names in other encodings, and what cannot be listed is named."""

import os

import pytest

from genjax.data import announce
from genjax.data import walk as walk_module
from tests.data.own_images import paint, read, warned


def test_names_that_are_no_utf8(tmp_path, caplog):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"l\xf6we.png", b"2.png", b"br\xf6ken.png"):
        paint(tmp_path / "whole.png")
        os.rename(tmp_path / "whole.png", folder + b"/" + name)
    open(folder + b"/br\xf6ken.png", "wb").close()
    paint(tmp_path / "bar/1.png")
    source, records = read(tmp_path)
    assert source.spec.class_names == ("bar", "caf\\xe9") and len(records) == 3
    said = warned(caplog) + announce.summary(source.about, source.spec)
    assert "caf\\xe9/br\\xf6ken.png" in said and said.encode()
    assert len(read(tmp_path, "train")[1]) + len(read(tmp_path, "test")[1]) == 3


def test_links_that_lead_nowhere_and_empty_folders_are_named(tmp_path, caplog):
    paint(tmp_path / "cat/a.png")
    paint(tmp_path / "dog/b.png")
    (tmp_path / "cat/c.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "owl/deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "cat/pipe.png")
    source, records = read(tmp_path)
    assert source.spec.class_names == ("cat", "dog") and len(records) == 2
    said = warned(caplog)
    assert "2 of 4 images can't be used and are skipped: cat/c.png (a link that leads nowhere), cat/pipe.png" in said
    assert "1 folder holds no images, and no class is made of that: owl" in said
    assert source.about.skipped == 2 and source.about.files == 4


@pytest.mark.parametrize("name", ["alias", "zebra"])
def test_two_class_folders_that_are_one_by_a_link(tmp_path, caplog, name):
    paint(tmp_path / "cat/a.png")
    paint(tmp_path / "mouse/a.png")
    (tmp_path / name).symlink_to(tmp_path / "cat")
    assert read(tmp_path)[0].spec.class_names == ("cat", "mouse")
    assert f"{name} is the folder cat by a link: its images count there alone" in warned(caplog)


def test_links_to_one_file_in_two_classes_are_named(tmp_path, caplog):
    paint(tmp_path / "cat/a.png")
    paint(tmp_path / "dog/b.png")
    os.link(tmp_path / "cat/a.png", tmp_path / "dog/c.png")
    (tmp_path / "dog/d.png").symlink_to(tmp_path / "dog/b.png")
    assert len(read(tmp_path)[1]) == 4
    assert "1 images are in several classes, being links to one file: 1 in cat and dog" in warned(caplog)


@pytest.mark.parametrize(("closed", "error"), [("dog", True), ("dog/deep", False)])
def test_a_class_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch, caplog, closed, error):
    for name in ("cat/1.png", "dog/2.png", "dog/deep/3.png"):
        paint(tmp_path / name)
    scandir = os.scandir

    def refusing(path):
        if str(path) == str(tmp_path / closed):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(walk_module.os, "scandir", refusing)
    if error:
        with pytest.raises(ValueError, match=r"/dog can't be read \(permission denied\), so its images, or a class"):
            read(tmp_path)
    else:
        assert len(read(tmp_path)[1]) == 2
        assert "dog/deep (folder can't be read: permission denied)" in warned(caplog)


def test_junk_of_systems_is_no_class(tmp_path, caplog):
    junk = ("@eaDir", "$RECYCLE.BIN", "#recycle", "System Volume Information", "lost+found", ".Trash", "__MACOSX")
    for name in ("cat", *junk):
        paint(tmp_path / name / "1.png")
    paint(tmp_path / "cat/@eaDir/1.jpg")
    (tmp_path / "Thumbs.db").touch()
    source, records = read(tmp_path)
    assert source.spec.class_names == ("cat",) and len(records) == 1 and not caplog.records


def test_links_in_a_circle_end(tmp_path):
    paint(tmp_path / "cat/a.png")
    (tmp_path / "cat/again").symlink_to(tmp_path / "cat")
    assert len(read(tmp_path)[1]) == 1


def test_accents_in_two_ways_are_one_class_and_said(tmp_path, caplog):
    for name in ("caf\u00e9/1.png", "cafe\u0301/2.png", "bar/3.png"):
        paint(tmp_path / name)
    assert read(tmp_path)[0].spec.class_names == ("bar", "caf\u00e9")
    assert "folders that write their accents in two ways are one class: caf\u00e9" in warned(caplog)
