"""A person's own pictures: layouts, modes, splits, broken files, and one clear line for each mistake."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from genjax.data import loader, sources


def paint(path, colour=(200, 30, 30), mode="RGB", size=(20, 16), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)
    return path


def read(path, split="all"):
    source = sources.open_source(f"folder:{path}", split)
    return source, [source.records[index] for index in range(len(source.records))]


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
    (tmp_path / "notes.md").write_text("not a picture")
    paint(tmp_path / ".hidden.png")
    paint(tmp_path / "__MACOSX/x.png")
    source, records = read(tmp_path)
    assert [record["file_name"] for record in records] == ["B.JPG", "a.png"]
    assert source.spec.num_classes == 0 and "label" not in records[0]


@pytest.mark.parametrize("classes", [True, False])
def test_captions_beside(tmp_path, classes, caplog):
    top = tmp_path / "cat" if classes else tmp_path
    for name in "abc":
        paint(top / f"{name}.png")
    (top / "a.txt").write_text("a red block\n", encoding="utf-8")
    (top / "b.txt").write_text("\ufeffone\n\n two ü \n", encoding="utf-8")
    source, records = read(tmp_path)
    assert source.spec.has_text and source.spec.num_classes == int(classes)
    assert [record["text"] for record in records] == ["a red block", ("one", "two ü"), ""]
    assert "1 of 3 images have no caption" in caplog.text


def test_metadata_csv(tmp_path):
    for name in ("x/a.png", "b.png", "unlisted.png"):
        paint(tmp_path / name)
    (tmp_path / "metadata.csv").write_text(
        'file_name,text,label\nx/a.png,"red, and flat",north\nb.png,,south\n', encoding="utf-8-sig"
    )
    source, records = read(tmp_path)
    assert source.spec.class_names == ("north", "south")
    assert [(r["file_name"], r["text"], r["label"]) for r in records] == [
        ("x/a.png", "red, and flat", 0),
        ("b.png", "", 1),
    ]


def test_metadata_jsonl(tmp_path):
    rows = [{"file_name": f"{i}.png", "text": ["one", "two"], "label": i} for i in (3, 11)]
    for row in rows:
        paint(tmp_path / row["file_name"])
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    source, records = read(tmp_path)
    assert source.spec.class_names == ("3", "11")
    assert [(r["text"], r["label"]) for r in records] == [(("one", "two"), 0), (("one", "two"), 1)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", "picture,text\na.png,x\n", r"columns \['picture', 'text'\]: it needs file_name"),
        ("metadata.csv", "file_name,title\na.png,x\n", "text or label or both"),
        ("metadata.csv", "file_name,label\na.png,\n", r"line 2 \(a.png\) has no label"),
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


def test_two_metadata_files_are_one_too_many(tmp_path):
    paint(tmp_path / "a.png")
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match="keep one"):
        read(tmp_path)


def test_modes_and_sizes_come_out_as_one_batch(tmp_path):
    modes = [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg")]
    for number, (mode, suffix) in enumerate(modes):
        paint(tmp_path / f"{mode}.{suffix}", mode=mode, size=(9 + 10 * number, 31))
    deep = np.full((12, 40), 40000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "sixteen.png")
    Image.fromarray(deep).save(tmp_path / "sixteen.tif")
    settings = {"name": f"folder:{tmp_path}", "image_size": 16, "channels": 3}
    images = loader.load_arrays(settings, "all")["image"]
    assert images.shape == (8, 16, 16, 3)
    by_name = dict(zip(sorted(path.name for path in tmp_path.iterdir()), images))
    for name in ("CMYK.jpg", "P.png", "RGBA.png"):
        assert by_name[name][8, 8, 0] > 150 and by_name[name][8, 8, 1] < 80, name
    assert (by_name["sixteen.png"] == 40000 >> 8).all() and (by_name["sixteen.tif"] == 40000 >> 8).all()
    assert loader.load_arrays(settings | {"channels": 1}, "all")["image"].shape == (8, 16, 16, 1)


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
    picture = paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    assert len(read(tmp_path)[1]) == 2
    picture.write_bytes(b"broken")
    assert len(read(tmp_path)[1]) == 1


@pytest.mark.parametrize("make", ["missing", "empty", "no_pictures", "all_broken"])
def test_no_pictures_is_one_clear_error(tmp_path, make):
    path = tmp_path / "mine"
    if make != "missing":
        path.mkdir()
    if make == "no_pictures":
        (path / "thesis.pdf").touch()
    if make == "all_broken":
        (path / "a.png").touch()
    expected = {
        "missing": "doesn't exist",
        "empty": "holds no images",
        "no_pictures": "holds no images",
        "all_broken": "holds no image that can be read",
    }
    for kind in (FileNotFoundError, ValueError):
        with pytest.raises(kind, match=expected[make]) as error:
            sources.open_source(f"folder:{path}", "train")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_no_path_is_not_the_current_folder():
    with pytest.raises(sources.DatasetNotFound, match="config.data.name is 'folder:'"):
        sources.open_source("folder:", "train")


def test_pictures_beside_class_folders_are_a_mistake(tmp_path):
    paint(tmp_path / "cat/a.png")
    paint(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"beside the subfolders \['cat'\]"):
        read(tmp_path)


@pytest.mark.parametrize("held", ["test", "val"])
def test_split_subfolders(tmp_path, held):
    for name in ("train/dog/1.png", "train/cat/2.png", f"{held}/cat/3.png", f"{held}/bird/4.png"):
        paint(tmp_path / name)
    split = {"val": "validation"}.get(held, held)
    source, records = read(tmp_path, "train")
    assert source.spec.class_names == ("bird", "cat", "dog")
    assert [(r["file_name"], r["label"]) for r in records] == [("train/cat/2.png", 1), ("train/dog/1.png", 2)]
    _, records = read(tmp_path, split)
    assert [(r["file_name"], r["label"]) for r in records] == [
        (f"{held}/bird/4.png", 0),
        (f"{held}/cat/3.png", 1),
    ]
    assert len(read(tmp_path, "all")[1]) == 4
    with pytest.raises(ValueError, match=r"has the splits \[.*'train', .*'all'\], not 'tset'"):
        read(tmp_path, "tset")


def test_split_subfolders_by_metadata_at_the_top(tmp_path):
    for name in ("train/1.png", "test/2.png"):
        paint(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("file_name,text\ntrain/1.png,x\ntest/2.png,y\n")
    assert [r["text"] for r in read(tmp_path, "test")[1]] == ["y"]


def test_split_subfolders_with_their_own_metadata(tmp_path):
    for split in ("train", "test"):
        paint(tmp_path / split / "1.png")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,text\n1.png,{split} picture\n")
    assert [r["text"] for r in read(tmp_path, "test")[1]] == ["test picture"]


def test_two_names_for_one_split_are_joined(tmp_path):
    for name in ("train/1.png", "val/2.png", "valid/3.png"):
        paint(tmp_path / name)
    assert [r["file_name"] for r in read(tmp_path, "validation")[1]] == ["val/2.png", "valid/3.png"]


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train/1.png", "plane/2.png", "car/3.png"):
        paint(tmp_path / name)
    assert read(tmp_path)[0].spec.class_names == ("car", "plane", "train")


def test_only_a_train_subfolder(tmp_path):
    for number in range(40):
        paint(tmp_path / f"train/cat/{number}.png")
    assert read(tmp_path)[0].spec.class_names == ("cat",)
    assert len(read(tmp_path, "train")[1]) + len(read(tmp_path, "test")[1]) == 40


def test_classes_in_one_split_alone_are_a_mistake(tmp_path):
    paint(tmp_path / "train/cat/1.png")
    paint(tmp_path / "test/2.png")
    with pytest.raises(ValueError, match="1 images such as test/2.png are in none"):
        read(tmp_path, "train")


def test_one_picture_can_be_trained_on(tmp_path):
    paint(tmp_path / "a.png")
    assert len(read(tmp_path, "train")[1]) == 1
    with pytest.raises(ValueError, match=r"has the splits \['train', 'all'\], not 'test'"):
        read(tmp_path, "test")


def test_links_in_a_circle_end(tmp_path):
    paint(tmp_path / "cat/a.png")
    (tmp_path / "cat/again").symlink_to(tmp_path / "cat")
    assert len(read(tmp_path)[1]) == 1


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    paint(tmp_path / "pictures/a.png")
    assert len(sources.open_source("folder:~/pictures", "all").records) == 1
