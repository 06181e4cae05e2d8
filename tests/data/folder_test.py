"""A person's own images: layouts, modes, broken files, and one clear line for each mistake."""

import logging
import os
import random

import numpy as np
import pytest
from PIL import Image

from genjax.data import loader, sources
from tests.data.own_images import paint, read, warned


def test_class_subfolders(tmp_path):
    for name in ("dog/1.jpg", "cat/deep/er/3.png", "cat/2.webp"):
        paint(tmp_path / name)
    (tmp_path / "empty").mkdir()
    source, records = read(tmp_path)
    assert source.spec.class_names == ("cat", "dog") and source.spec.num_classes == 2
    assert [(record["file_name"], record["label"]) for record in records] == [
        ("cat/2.webp", 0),
        ("cat/deep/er/3.png", 0),
        ("dog/1.jpg", 1),
    ]
    assert "text" not in records[0] and not source.spec.has_text
    assert records[0]["image"].shape == (16, 20, 3)


def test_numeric_classes_are_in_numeric_order(tmp_path):
    for name in (2, 10, 1):
        paint(tmp_path / f"{name}/a.png")
    assert read(tmp_path)[0].spec.class_names == ("1", "2", "10")


def test_classes_that_are_the_same_number_keep_an_order(tmp_path):
    for name in ("1", "01", "001"):
        paint(tmp_path / f"{name}/a.png")
    assert read(tmp_path)[0].spec.class_names == ("001", "01", "1")


def test_flat_and_unlabelled(tmp_path):
    paint(tmp_path / "a.png")
    paint(tmp_path / "B.JPG")
    (tmp_path / "notes.md").write_text("not an image")
    paint(tmp_path / ".hidden.png")
    paint(tmp_path / "__MACOSX/x.png")
    source, records = read(tmp_path)
    assert [record["file_name"] for record in records] == ["B.JPG", "a.png"]
    assert source.spec.num_classes == 0 and "label" not in records[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", "image,text\na.png,x\n", r"columns \['image', 'text'\]: it needs file_name"),
        ("metadata.csv", "file_name,title\na.png,x\n", "text or label or both"),
        ("metadata.csv", "file_name,text\n,x\n", "line 2 has no file_name"),
        ("metadata.jsonl", '{"file_name": "a.png"\n', "line 1 is not JSON"),
        ("metadata.jsonl", '["a.png"]\n', "line 1 is not a JSON object"),
    ],
)
def test_metadata_mistakes(tmp_path, name, content, message):
    paint(tmp_path / "a.png")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_metadata_in_another_encoding(tmp_path):
    paint(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,Löwe\n", encoding="cp1252")
    with pytest.raises(ValueError, match="metadata.csv is not UTF-8"):
        read(tmp_path)


def test_modes_and_sizes_come_out_as_one_batch(tmp_path):
    modes = [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg")]
    for number, (mode, suffix) in enumerate(modes):
        paint(tmp_path / f"{mode}.{suffix}", mode=mode, size=(9 + 10 * number, 31))
    deep = np.full((12, 40), 40000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "sixteen.png")
    Image.fromarray(deep).save(tmp_path / "sixteen.tif")
    settings = {"name": f"folder:{tmp_path}", "image_size": 16, "channels": 3}
    images = loader.Data(settings).load_arrays("all")["image"]
    assert images.shape == (8, 16, 16, 3)
    by_name = dict(zip(sorted(path.name for path in tmp_path.iterdir()), images))
    for name in ("CMYK.jpg", "P.png", "RGBA.png"):
        assert by_name[name][8, 8, 0] > 150 and by_name[name][8, 8, 1] < 80, name
    assert (by_name["sixteen.png"] == 40000 >> 8).all() and (by_name["sixteen.tif"] == 40000 >> 8).all()
    assert loader.Data(settings | {"channels": 1}).load_arrays("all")["image"].shape == (8, 16, 16, 1)


def test_broken_files_are_counted_named_and_skipped_in_one_line(tmp_path, caplog):
    paint(tmp_path / "c/good.png")
    paint(tmp_path / "c/new.png")
    (tmp_path / "c/fake.jpg").write_text("hello")
    (tmp_path / "c/empty.png").touch()
    whole = paint(tmp_path / "c/cut.jpg", size=(300, 300))
    Image.effect_noise((300, 300), 90).save(whole)
    whole.write_bytes(whole.read_bytes()[:-2000])
    paint(tmp_path / "d/good.png")
    png = paint(tmp_path / "d/cut.png", size=(64, 64))
    Image.effect_noise((64, 64), 90).save(png)
    png.write_bytes(png.read_bytes()[:-300])
    with caplog.at_level(logging.WARNING):
        source, records = read(tmp_path)
        read(tmp_path)
        read(tmp_path, "train")
    assert [record["file_name"] for record in records] == ["c/good.png", "c/new.png", "d/good.png"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and "\n" not in lines[0]
    assert "4 of 7 images can't be used and are skipped" in lines[0]
    for name in ("c/fake.jpg", "c/empty.png", "c/cut.jpg", "d/cut.png"):
        assert name in lines[0]
    assert source.spec.class_names == ("c", "d")


def test_many_broken_files_don_t_flood(tmp_path, caplog):
    paint(tmp_path / "good.png")
    for number in range(30):
        (tmp_path / f"{number:02}.jpg").touch()
    read(tmp_path)
    assert "30 of 31 images" in caplog.text and "and 10 more" in caplog.text


def test_metadata_that_names_a_missing_file(tmp_path, caplog):
    paint(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,x\nb.png,y\n")
    assert len(read(tmp_path)[1]) == 1
    assert "1 of 2 images can't be used and are skipped: b.png (no such file)" in caplog.text


def test_a_folder_with_changed_files_is_looked_at_again(tmp_path):
    image = paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    assert len(read(tmp_path)[1]) == 2
    image.write_bytes(b"broken")
    assert len(read(tmp_path)[1]) == 1


@pytest.mark.parametrize("make", ["missing", "empty", "no_images", "all_broken"])
def test_no_images_is_one_clear_error(tmp_path, make):
    path = tmp_path / "mine"
    if make != "missing":
        path.mkdir()
    if make == "no_images":
        (path / "thesis.pdf").touch()
    if make == "all_broken":
        (path / "a.png").touch()
    expected = {
        "missing": "doesn't exist",
        "empty": "holds no images",
        "no_images": "holds no images",
        "all_broken": "holds no image that can be read",
    }
    for kind in (FileNotFoundError, ValueError):
        with pytest.raises(kind, match=expected[make]) as error:
            sources.open_source(f"folder:{path}", "train")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_no_path_is_not_the_current_folder():
    with pytest.raises(sources.DatasetNotFound, match="name is 'folder:'"):
        sources.open_source("folder:", "train")


def test_one_image_can_be_trained_on(tmp_path):
    paint(tmp_path / "a.png")
    assert len(read(tmp_path, "train")[1]) == 1
    with pytest.raises(ValueError, match=r"has the splits \['train', 'all'\], not 'test'"):
        read(tmp_path, "test")


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    paint(tmp_path / "images/a.png")
    assert len(sources.open_source("folder:~/images", "all").records) == 1


def test_a_class_that_only_the_test_split_has_is_named(tmp_path, caplog):
    for name in ("train/cat/1.png", "test/cat/2.png", "test/bird/3.png"):
        paint(tmp_path / name)
    assert read(tmp_path)[0].spec.class_names == ("bird", "cat")
    assert "no image in train, so nothing can be learnt, of the classes bird" in warned(caplog)


def test_tiny_classes_are_trained_on(tmp_path, caplog):
    for number in range(6):
        paint(tmp_path / f"{number}/a.png")
        paint(tmp_path / f"{number}/b.png")
    assert {record["label"] for record in read(tmp_path, "train")[1]} == set(range(6))
    assert read(tmp_path, "test")[1] and not caplog.records


def test_a_class_whose_images_are_all_broken_is_an_error(tmp_path):
    paint(tmp_path / "ape/1.png")
    paint(tmp_path / "cat/1.png").write_bytes(b"")
    (tmp_path / "cat/2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"none of the 2 images of class 'cat' can be read, such as cat/1.png"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pics.zip", r"pics.zip is an archive, not a folder: unpack it"),
        ("pics.tar.gz", r"pics.tar.gz is an archive"),
        ("1.png", r"1.png is an image: name the folder that holds it, folder:/"),
        ("metadata.csv", r"metadata.csv is a table: name the folder that holds it, folder:/"),
        ("notes", r"notes is a file, not a folder of images"),
    ],
)
def test_a_file_is_no_folder_and_is_called_what_it_is(tmp_path, name, message):
    (tmp_path / name).touch()
    with pytest.raises(sources.DatasetNotFound, match=message):
        sources.open_source(f"folder:{tmp_path}/{name}", "train")


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "pets").mkdir()
    with pytest.raises(sources.DatasetNotFound, match=rf"doesn't exist: .*; is it {tmp_path}/pets\?"):
        sources.open_source(f"folder:{tmp_path}/pet", "train")
    for name in ("gs://bucket/pets", "https://x.org/pets.zip", "s3://pets"):
        with pytest.raises(sources.DatasetNotFound, match="only folders of this machine"):
            sources.open_source(f"folder:{name}", "train")
    for name in ("~nobody-of-that-name/x", "a\0b", "x" * 5000):
        with pytest.raises(sources.DatasetNotFound, match="doesn't exist"):
            sources.open_source(f"folder:{name}", "train")


def test_values_of_12_bits_in_files_of_16_are_warned_of(tmp_path, caplog):
    values = np.linspace(0, 4095, 256).reshape(16, 16)
    for number in range(3):
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"{number}.png")
    Image.fromarray((values * 16).astype(np.uint16)).save(tmp_path / "whole.png")
    paint(tmp_path / "black.png", (0, 0, 0))
    read(tmp_path)
    assert "3 of 5 images that were decoded are nearly black" in warned(caplog)
    assert "they are 0.png, 1.png, 2.png" in warned(caplog)


def test_a_fingerprint_knows_contents_and_not_places(tmp_path):
    for name in ("one/cat/1.png", "one/dog/2.png", "two/cat/1.png", "two/dog/2.png"):
        paint(tmp_path / name, compress_level=random.Random(name[3:]).randint(1, 9))
        (tmp_path / name).with_suffix(".txt").write_text("x")

    def found(folder):
        return read(tmp_path / folder)[0].spec.fingerprint

    first = found("one")
    assert first == found("two") and [line.split()[:2] for line in first] == [["test", "1"], ["train", "1"]]
    os.utime(tmp_path / "two/cat/1.png", (0, 0))
    assert found("two") == first
    (tmp_path / "two/cat/1.txt").write_text("y")
    assert found("two") != first
    (tmp_path / "two/cat/1.txt").write_text("x")
    paint(tmp_path / "two/cat/1.png", size=(40, 40))
    assert found("two") != first
    for classes in (("dog", "cat"), ("cat", "ape")):
        table = "".join(f"{name},{label}\n" for name, label in zip(("cat/1.png", "dog/2.png"), classes))
        (tmp_path / "one/metadata.csv").write_text(f"file_name,label\n{table}")
        assert found("one") != first, "a class is part of it, wherever it is said"
        first = found("one")
