"""What the files of a folder mean: splits, classes, captions, tables, and what was left aside."""

import json
import sys
import time

import pytest

from genjax.data import announce, layout, sources
from genjax.data.walk import File, Listing
from tests.data.own_images import paint, read, warned


@pytest.mark.parametrize(
    "folders",
    [
        {"training": "train", "testing": "test"},
        {"train2017": "train", "val2017": "validation"},
        {"Train": "train", "DEV": "validation", "eval": "test"},
        {"TRAIN": "train", "Eval": "validation", "Test_set": "test"},
    ],
)
def test_splits_by_the_names_that_people_give_them(tmp_path, folders):
    for name in folders:
        paint(tmp_path / name / "cat" / "1.png")
    for name, split in folders.items():
        source, records = read(tmp_path, split)
        assert [record["file_name"] for record in records] == [f"{name}/cat/1.png"]
        assert source.spec.class_names == ("cat",)


def test_classes_that_look_like_splits_are_warned_of(tmp_path, caplog):
    for name in ("train/1.png", "Dev/3.png", "plane/2.png"):
        paint(tmp_path / name)
    assert read(tmp_path)[0].spec.class_names == ("Dev", "plane", "train")
    assert "the folders Dev, train look like splits, but are classes, since plane lies beside them" in warned(caplog)


@pytest.mark.parametrize("names", [("Cat", "cat"), ("red panda", "red_panda", "Red-Panda"), ("Ü", "ü")])
def test_classes_that_differ_in_how_they_are_written_alone_are_warned_of(tmp_path, names, caplog):
    for name in (*names, "dog"):
        paint(tmp_path / name / "1.png")
    assert set(read(tmp_path)[0].spec.class_names) == {*names, "dog"}
    assert f"{len(names)} classes differ in how they are written alone: {', '.join(sorted(names))}" in warned(caplog)


def test_classes_of_a_table_that_differ_in_case_are_warned_of(tmp_path, caplog):
    for name in ("1.png", "2.png"):
        paint(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,Cat\n2.png,CAT\n")
    read(tmp_path)
    assert "2 classes differ in how they are written alone: CAT, Cat" in warned(caplog)


def test_numbers_and_other_names_are_no_two_ways_to_write_one(tmp_path, caplog):
    for name in ("-1", "1", "12", "1-2", "a b", "ab"):
        paint(tmp_path / name / "1.png")
    read(tmp_path)
    assert "differ in how they are written" not in warned(caplog)


def test_splits_inside_of_classes_are_warned_of(tmp_path, caplog):
    for name in ("cat/train/1.png", "cat/test/2.png", "dog/train/3.png"):
        paint(tmp_path / name)
    assert read(tmp_path)[0].spec.class_names == ("cat", "dog")
    assert "folders called test, train lie inside of classes, and are not taken for splits" in warned(caplog)


def test_a_folder_around_the_classes_is_warned_of(tmp_path, caplog):
    for name in ("images/cat/1.png", "images/dog/2.png"):
        paint(tmp_path / name)
    assert read(tmp_path)[0].spec.class_names == ("images",)
    assert f"if its subfolders cat, dog are the classes, name folder:{tmp_path}/images" in warned(caplog)


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


@pytest.mark.parametrize("suffix", ["txt", "TXT", "caption"])
def test_captions_beside_in_all_encodings_that_say_so(tmp_path, suffix):
    for name, encoding in {"a": "utf-8", "b": "utf-8-sig", "c": "utf-16", "d": "utf-32"}.items():
        paint(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.{suffix}").write_text("rot\n犬 ü\n", encoding=encoding)
    assert [record["text"] for record in read(tmp_path)[1]] == [("rot", "犬 ü")] * 4


@pytest.mark.parametrize("encoding", ["cp1252", "shift-jis", "utf-16-le", "utf-16-be", "iso2022-jp"])
def test_captions_in_an_encoding_that_does_not_say_so_are_refused_by_name(tmp_path, encoding):
    for name in "ab":
        paint(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("ok")
    (tmp_path / "b.txt").write_bytes(("Löwe" if encoding == "cp1252" else "line\n犬").encode(encoding))
    with pytest.raises(ValueError, match=r"1 of 2 caption files can't be read: .*b\.txt .*: save it as UTF-8"):
        read(tmp_path)


def test_the_caption_file_that_is_not_read_is_named(tmp_path, caplog):
    paint(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "a.caption").write_text("two")
    assert read(tmp_path)[1][0]["text"] == "one"
    assert "not read: a.caption" in warned(caplog)


def test_tables_in_class_folders_give_captions(tmp_path, caplog):
    for name in ("cat/1.png", "cat/2.png", "dog/3.png"):
        paint(tmp_path / name)
    (tmp_path / "cat/Metadata.CSV").write_text("file_name,text,label\n1.png,one,lion\ngone.png,x,lion\n")
    (tmp_path / "dog/metadata.jsonl").write_text('{"file_name": "3.png", "text": ["three", "drei"]}')
    source, records = read(tmp_path)
    assert source.spec.class_names == ("cat", "dog")
    assert [record["text"] for record in records] == ["one", "", ("three", "drei")]
    assert "not read: the labels of cat/Metadata.CSV" in warned(caplog)
    assert "1 of 4 images can't be used and are skipped: cat/gone.png (no such file" in warned(caplog)


@pytest.mark.parametrize("name", ["metadata.CSV", "METADATA.csv", "metadata.tsv", "Metadata.JSONL"])
def test_tables_are_read_however_their_names_are_written(tmp_path, name):
    paint(tmp_path / "a.png")
    separator = "\t" if name.endswith("tsv") else ","
    jsonl = name.lower().endswith("jsonl")
    text = '{"file_name": "a.png", "label": "x"}' if jsonl else f"file_name{separator}label\na.png{separator}x\n"
    (tmp_path / name).write_text(text)
    assert read(tmp_path)[0].spec.class_names == ("x",)


def test_what_is_not_read_is_said(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    paint(tmp_path / "a.png")
    for name in ("metadata.parquet", "labels.csv", "annotations.json", "a.mp4", *(f"{n}.xml" for n in range(9))):
        (tmp_path / name).touch()
    read(tmp_path)
    said = warned(caplog)
    for words in ("metadata.parquet (reading .parquet needs pyarrow)", "labels.csv", "annotations.json", "a.mp4"):
        assert words in said
    assert "9 files .xml" in said


def test_images_and_columns_and_folders_that_a_table_leaves_out_are_named(tmp_path, caplog):
    for name in ("cat/1.png", "dog/2.png", "dog/3.png"):
        paint(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("file_name,text,caption\ncat\\1.png,x,y\n./dog/2.png,z,\n")
    source, records = read(tmp_path)
    assert [record["file_name"] for record in records] == ["cat/1.png", "dog/2.png"]
    said = warned(caplog)
    assert "1 of 3 images can't be used and are skipped: dog/3.png (not named in metadata.csv)" in said
    assert "not read: the columns caption of metadata.csv" in said
    assert "the folders cat, dog are no classes: metadata.csv has no labels" in said


def test_captions_beside_complete_a_table_of_labels(tmp_path):
    paint(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,x\n")
    assert read(tmp_path)[1][0]["text"] == "words"


@pytest.mark.parametrize("labels", [True, False])
def test_a_stylegan_folder(tmp_path, labels):
    names = [f"{n // 2:05}/img{n:08}.png" for n in range(12)]
    for name in names:
        paint(tmp_path / name)
    pairs = [[name, n % 11] for n, name in enumerate(names)] if labels else None
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": pairs}))
    source, records = read(tmp_path)
    assert source.spec.class_names == (tuple(map(str, range(11))) if labels else ())
    assert [record.get("label") for record in records] == [n % 11 if labels else None for n in range(12)]


def test_images_beside_class_folders_are_a_mistake(tmp_path):
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
        (tmp_path / split / "metadata.csv").write_text(f"file_name,text\n1.png,{split} image\n")
    assert [r["text"] for r in read(tmp_path, "test")[1]] == ["test image"]


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


def test_two_metadata_files_are_one_too_many(tmp_path):
    paint(tmp_path / "a.png")
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match="keep one"):
        read(tmp_path)


def test_the_time_grows_with_the_number_of_files_and_no_faster():
    names = [f"{n % 100}/{n // 4}/{n}.{ending}" for n in range(8_000) for ending in ("png", "xml")]
    folders = tuple(dict.fromkeys(name.rpartition("/")[0] for name in names))
    files = tuple(File(name, 9, 0, (1, number)) for number, name in enumerate(names))
    start = time.process_time()
    found = layout.understand("/nowhere", Listing(files, folders, (), (), ()))
    assert time.process_time() - start < 3  # a comparison of all with all takes longer than that
    assert len(found.splits[""]) == 8_000 and found.notes == ["not read: 8000 files .xml"]


def test_a_table_may_name_images_that_lie_elsewhere(tmp_path, caplog):
    for name in ("x/1.png", "x/2.png"):
        paint(tmp_path / name)
    (tmp_path / "y").mkdir()
    (tmp_path / "y/metadata.csv").write_text(f"file_name,text\n../x/1.png,one\n{tmp_path}/x/2.png,two\n")
    source, records = read(tmp_path / "y")
    assert [record["text"] for record in records] == ["one", "two"] and not caplog.records
    paint(tmp_path / "x/1.png", size=(50, 50))
    (tmp_path / "y/note.txt").touch()  # so that this program looks at the folder anew
    assert read(tmp_path / "y")[0].spec.fingerprint != source.spec.fingerprint


@pytest.mark.parametrize(
    "written", ["x/1.png", "x\\1.png", ".\\x\\1.png", "x//1.png", " x/1.png ", "y/../x/1.png", "{root}/x/1.png"]
)
def test_one_image_however_its_name_is_written(tmp_path, written, caplog):
    """Twice in a table it is one image with both captions, and nothing is said to be left out."""
    for name in ("x/1.png", "y/2.png"):
        paint(tmp_path / name)
    row = written.replace("{root}", str(tmp_path))
    (tmp_path / "metadata.csv").write_text(f"file_name,text\nx/1.png,a\n{row},b\ny/2.png,c\n")
    source, records = read(tmp_path)
    assert [record["file_name"] for record in records] == ["x/1.png", "y/2.png"]
    assert records[0]["text"] == ("a", "b") and source.about.skipped == 0 and "skipped" not in warned(caplog)


def test_dots_behind_a_link_are_followed_as_the_file_system_does(tmp_path):
    paint(tmp_path / "other/1.png", (0, 255, 0)), paint(tmp_path / "mine/1.png", (255, 0, 0))
    (tmp_path / "other/deep").mkdir()
    (tmp_path / "mine/link").symlink_to(tmp_path / "other/deep")
    (tmp_path / "mine/metadata.csv").write_text("file_name,text\nlink/../1.png,green\n")
    _, (record,) = read(tmp_path / "mine")
    assert record["text"] == "green" and record["image"][0, 0].tolist() == [0, 255, 0]


def test_two_names_of_one_image_with_two_labels_are_refused(tmp_path):
    paint(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n1.png,cat\n../{tmp_path.name}/1.png,dog\n")
    with pytest.raises(ValueError, match="metadata.csv: 1.png is 'cat', and 'dog' in another row"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("/old/disk/1.png", r" \(is it 1.png\?\)"),
        ("C:\\pics\\1.png", r" \(is it 1.png\?\)"),
        ("1", r" \(is it 1.png\?\)"),
        ("2/1.PNG", r" \(is it 1.png\?\)"),
        ("*.png", ""),
    ],
)
def test_a_table_of_which_nothing_is_there(tmp_path, written, hint):
    paint(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{written},a\n")
    with pytest.raises(ValueError, match=rf"no image that it names is there, such as .*{hint}: write names relative"):
        read(tmp_path)


def test_a_column_of_empty_captions_is_said(tmp_path, caplog):
    paint(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n1.png,\n")
    assert not read(tmp_path)[0].spec.has_text and "all captions in metadata.csv are empty" in warned(caplog)


def test_names_with_line_ends_are_told_on_one_line(tmp_path, caplog, capsys):
    for name in ("a\nb/1.png", "c/2.png", "c/3.png"):
        paint(tmp_path / name)
    (tmp_path / "c/4\r.png").write_bytes(b"")
    announce.open_split(sources.find(f"folder:{tmp_path}"), "all")
    said = capsys.readouterr().err
    said_once = "2 classes (a\\nb, c)" in said and said.count("\n") == 1
    assert said_once and "4\\r.png (it is an empty file" in warned(caplog)


def test_images_without_a_label_are_skipped_counted_and_named(tmp_path, caplog, capsys):
    for name in ("1.png", "2.png", "3.png", "4.png"):
        paint(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("file_name,label,text\n1.png,cat,x\n2.png,None,y\n3.png,dog,null\n4.png,,\n")
    source = announce.open_split(sources.find(f"folder:{tmp_path}"), "all")
    assert source.spec.class_names == ("cat", "dog") and len(source.records) == 2
    said = capsys.readouterr().err
    assert "2 of 4 files skipped, 2 of them without a label, named above" in said
    assert "captions (1 image has none)" in said
    assert "2.png (no label in metadata.csv, and others have)" in warned(caplog)


@pytest.mark.parametrize("name", ["metadata.csv", "dataset.json"])
def test_where_no_image_has_a_label_there_are_no_classes(tmp_path, caplog, name):
    for image in ("a/1.png", "b/2.png"):
        paint(tmp_path / image)
    content = {"metadata.csv": "file_name,label\na/1.png,\nb/2.png,N/A\n"}
    (tmp_path / name).write_text(content.get(name, json.dumps({"labels": [["a/1.png", -1], ["b/2.png", None]]})))
    assert read(tmp_path)[0].spec.num_classes == 0
    assert f"all labels in {name} are missing, so there are no classes" in warned(caplog)


def test_stylegan_s_images_without_a_label_are_skipped(tmp_path, capsys):
    for image in ("a/1.png", "a/2.png", "b/3.png"):
        paint(tmp_path / image)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a/1.png", 5], ["a/2.png", -1], ["b/3.png", 7]]}))
    source = announce.open_split(sources.find(f"folder:{tmp_path}"), "all")
    assert source.spec.class_names == ("5", "7") and len(source.records) == 2
    assert "1 of 3 files skipped, 1 of them without a label" in capsys.readouterr().err


def test_names_in_a_table_are_found_in_any_case_where_one_file_is_meant(tmp_path, caplog):
    for name in ("1.JPeG", "2.jpg", "3.png", "3.PNG"):
        paint(tmp_path / name, format="PNG")
    (tmp_path / "metadata.csv").write_text("file_name,text\n1.jpeg,a\n2.JPG,b\n3.PNG,c\n3.Png,d\n")
    records = read(tmp_path)[1]
    assert {record["file_name"]: record["text"] for record in records} == {"1.JPeG": "a", "2.jpg": "b", "3.PNG": "c"}
    assert "3.Png (no such file)" in warned(caplog), "it may be either"


@pytest.mark.parametrize(
    ("labels", "said"), [("-1,0,1", True), ("-1,cat,dog", False), ("-1,-2,1", False), ("0,1,2", False)]
)
def test_a_class_called_minus_one_is_told_of(tmp_path, caplog, labels, said):
    rows = ["file_name,label"]
    for number, label in enumerate(labels.split(",")):
        paint(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{label}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    assert read(tmp_path)[0].spec.num_classes == 3
    assert ("-1 is a class of metadata.csv like any other" in warned(caplog)) == said
