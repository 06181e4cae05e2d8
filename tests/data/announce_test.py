"""What programs say of their data: one line, once, true of every kind of source."""

import pytest

from genjax.data import loader
from genjax.data.announce import say_encoded, summary
from genjax.data.encoded import Manifest
from genjax.data.records import About
from genjax.typing import DataSpec
from tests.data.own_images import paint, warned


@pytest.fixture
def pets(tmp_path):
    """Settings of a folder of three classes, one of them with a broken image."""
    for number in range(30):
        paint(tmp_path / "pets" / ("cat", "dog", "owl")[number % 3] / f"{number}.png", size=(28 + number % 3, 30))
    (tmp_path / "pets/dog/broken.png").touch()
    return {"name": f"folder:{tmp_path}/pets", "image_size": 64, "batch_size": 2}


def test_one_line_however_often_a_program_opens_its_data(pets, capsys, caplog):
    assert loader.Data(pets).spec
    loader.Data(pets).load_arrays("test")
    next(iter(loader.Data(pets).eval_batches()))
    loader.Data(pets).check_eval_split()
    with loader.Data(pets).train_iterator(0) as batches:
        next(batches)
    assert capsys.readouterr().err == (
        "folder pets: 3 classes (cat, dog, owl); train 29, test 1; 1 of 31 files skipped, named above; "
        "images 28x30 to 30x30, upsampled to 64x64\n"
    )
    assert warned(caplog).count("dog/broken.png") == 1
    assert "30 of 30 images have half of image_size=64 pixels on their shorter side" in warned(caplog)


def test_another_folder_or_a_changed_one_is_another_line(pets, tmp_path, capsys):
    assert loader.Data(pets).spec
    paint(tmp_path / "pets/ape/1.png", size=(30, 30))
    assert loader.Data(pets).spec
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].startswith("folder pets: 4 classes (ape, cat, dog, owl); train 30, test 1;")


def test_a_prepared_dataset_says_the_same(data_dir, capsys):
    assert loader.Data({"name": "digits", "image_size": 16, "data_dir": data_dir}).spec
    loader.Data({"name": "digits", "image_size": 16, "data_dir": data_dir}).load_arrays("test[:3]")
    assert capsys.readouterr().err == (
        "dataset digits: 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9); train 1352, test 445; "
        "images 8x8, upsampled to 16x16\n"
    )


def test_prepared_images_that_are_shrunk_are_warned_of(tmp_path, capsys, caplog):
    for number in range(4):
        paint(tmp_path / f"{number}.png", size=(28, 28))
    assert loader.Data({"name": f"folder:{tmp_path}", "image_size": 8}).spec
    assert "images 28x28, shrunk to 8x8" in capsys.readouterr().err
    assert "all 4 images are 28x28, and are shrunk to image_size=8" in warned(caplog)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (((8, 8),), "images 8x8"),
        (((8, 9),), "images 8x9, cropped to 8x8"),
        (((4, 4), (30, 6)), "images 4x4 to 30x6, upsampled to 8x8"),
        (((20, 10), (16, 16)), "images 20x10 to 16x16, shrunk to 8x8"),
        (((4, 4), (8, 8), (16, 16), (20, 16)), "images 4x4 to 20x16, 1 upsampled and 2 shrunk to 8x8"),
        (((4, 4), (8, 8)), "images 4x4 to 8x8, upsampled to 8x8"),
    ],
)
def test_from_what_size_to_what(sizes, said):
    line = summary(About("x", {"train": 1}, sizes=sizes), DataSpec((0, 0, 0)), 8)
    assert line == f"x: no classes; train 1; {said}"


def test_many_classes_captions_and_splits_in_their_order():
    spec = DataSpec((8, 8, 3), 12, tuple("abcdefghijkl"), has_text=True)
    about = About("x", {"extra": 4, "test": 3, "validation": 2, "train": 1})
    assert summary(about, spec) == (
        "x: 12 classes (a, b, c, d, e, f, g, h, i, j, ...); captions; train 1, validation 2, test 3, extra 4"
    )
    assert summary(About("x", {"train": 1}), DataSpec((8, 8, 3), 1, ("cat",))) == "x: 1 class (cat); train 1"


@pytest.mark.parametrize(
    ("folders", "requested", "taken"),
    [
        (("train", "val"), "test", "val"),
        (("train", "val", "test"), "test", "test"),
        (("train", "test"), "val", "test"),
        (("train", "val"), "val", "val"),
        (("train", "dev", "testing"), "eval", "testing"),
        (("train", "val", "test"), "mine", "val"),
    ],
)
def test_a_held_out_split_of_another_name_is_taken_with_a_word(tmp_path, caplog, folders, requested, taken):
    for folder in folders:
        paint(tmp_path / folder / f"{folder}.png")
        (tmp_path / folder / f"{folder}.txt").write_text(folder)
    settings = {"name": f"folder:{tmp_path}", "image_size": 8, "batch_size": 1, "eval_split": requested}
    loader.Data(settings).check_eval_split()
    for _ in range(2):
        assert loader.Data(settings).captions() == loader.Data(settings).captions(requested) == [(taken,)]
    name = {"val": "validation", "testing": "test"}.get(taken, taken)
    word = f"there is no split {requested!r} (eval_split), so {name!r} is held out"
    assert warned(caplog).count(word) == (name != requested)


def test_no_held_out_split_is_known_at_the_start(tmp_path):
    paint(tmp_path / "only.png")
    settings = {"name": f"folder:{tmp_path}", "image_size": 8, "batch_size": 1}
    assert loader.Data(settings).spec
    with pytest.raises(ValueError, match=r"eval_split='test': .* has the splits \['train', 'all'\], not 'test'; set"):
        loader.Data(settings).check_eval_split()
    loader.Data(settings | {"eval_split": "train"}).check_eval_split()


def test_another_split_than_the_held_out_one_is_not_replaced(tmp_path):
    for folder in ("train", "val"):
        paint(tmp_path / folder / "1.png")
    settings = {"name": f"folder:{tmp_path}", "image_size": 8, "eval_split": "val"}
    with pytest.raises(ValueError, match="not 'test'"):
        loader.Data(settings).load_arrays("test")


def test_what_was_encoded_is_said_too(capsys):
    images = {"name": "digits", "image_size": 8, "channels": 1}
    counts = {"train": 1352, "test": 445}
    manifest = Manifest({"codes_0": [4], "label": []}, counts, images, {"step": 300, "checksum": 7}, texts=True)
    for _ in range(2):
        say_encoded("runs/codes", manifest)
    assert capsys.readouterr().err == (
        "encoded runs/codes: codes_0, label, captions; train 1352, test 445; of digits at 8x8, by step 300\n"
    )
