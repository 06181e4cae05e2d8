"""Images that break while a run reads them: skipped, counted, named, in a way that a resumed run repeats."""

import logging
import pickle

import numpy as np
import pytest

from genjax.data import broken, loader
from genjax.data.broken import BrokenImage, Skipping, decoded
from tests.data.own_images import paint


class Numbers:
    """Examples that are their own numbers; some are broken."""

    def __init__(self, count, bad):
        self.count, self.bad, self.reads = count, set(bad), []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.reads.append(index)
        if index in self.bad:
            raise BrokenImage(f"{index}.png: cut")
        return {"label": index}

    def captions(self, indices):
        return []


def test_the_next_whole_one_stands_in_and_each_is_named_once(caplog):
    numbers = Numbers(10, (3, 4, 9))
    examples = Skipping(numbers, "folder pets", 0.5)
    assert [examples.fetch(index)[0] for index in (2, 3, 4, 9, 3)] == [2, 5, 5, 0, 5]
    assert [record.getMessage() for record in caplog.records] == [
        "folder pets: broken and skipped, 1 of 10 images so far: 3.png: cut",
        "folder pets: broken and skipped, 2 of 10 images so far: 4.png: cut",
        "folder pets: broken and skipped, 3 of 10 images so far: 9.png: cut",
    ]
    assert numbers.reads.count(3) == 1
    copy = pickle.loads(pickle.dumps(examples))
    assert copy.fetch(4) == (5, {"label": 5})


@pytest.mark.parametrize(("share", "allowed"), [(0.0, 0), (0.01, 1), (0.2, 2), (0.21, 3)])
def test_more_than_the_share_ends_the_run(share, allowed):
    examples = Skipping(Numbers(10, range(5)), "folder pets", share)
    for index in range(4, 4 - allowed, -1):
        examples.fetch(index)
    message = rf"pets: {allowed + 1} of 10 images are broken, and max_broken={share} allows {allowed};"
    with pytest.raises(ValueError, match=message):
        examples.fetch(4 - allowed)


def test_all_broken_is_an_error_and_no_circle():
    with pytest.raises(ValueError, match="3 of 3 images are broken"):
        Skipping(Numbers(3, range(3)), "folder pets", 1.0).fetch(1)


def test_an_error_that_passes_is_tried_again(monkeypatch):
    monkeypatch.setattr(broken, "_WAITS", (0.0, 0.0))
    errors = [OSError(5, "Input/output error"), OSError(116, "Stale file handle")]

    def decode(image, name):
        if errors:
            raise errors.pop()
        return image

    assert decoded(decode, "x", "a.png") == "x" and not errors
    errors += [OSError(5, "Input/output error")] * 3
    with pytest.raises(BrokenImage, match="a.png: .*Input/output error"):
        decoded(decode, "x", "a.png")
    errors[:] = [SyntaxError("broken PNG file"), OSError(5, "")]
    errors.pop()
    with pytest.raises(BrokenImage, match="a.png: broken PNG file"):
        decoded(decode, "x", "a.png")


@pytest.fixture
def breaking(tmp_path):
    """Settings of a folder of twelve images; the images of classes 2 and 7 are broken after the first look."""
    for number in range(12):
        paint(tmp_path / f"{number}/a.png", (number, 0, 0), size=(8, 8))
    settings = {"name": f"folder:{tmp_path}", "split": "all", "eval_split": "all", "image_size": 8, "batch_size": 4}

    def later():
        for number in (2, 7):
            (tmp_path / f"{number}/a.png").write_bytes(b"broken meanwhile")

    return settings, later


def red(batch):
    """The class of each image, by its colour."""
    return np.round((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


@pytest.mark.parametrize("crop", ["center", "random"])
def test_training_goes_on_and_resumes_exactly(breaking, caplog, crop):
    settings, later = breaking
    data = loader.Data(settings | {"max_broken": 0.5, "crop": crop})
    with data.train_iterator(0) as batches:
        later()
        drawn = [next(batches) for _ in range(9)]
    for batch in drawn:
        assert red(batch) == batch["label"].tolist() and len(batch["label"]) == 4  # the label goes with its image
    assert {label for batch in drawn for label in batch["label"]} == set(range(12)) - {2, 7}
    assert "2/a.png" in caplog.text and "7/a.png" in caplog.text and "2 of 12 images so far" in caplog.text
    # A fresh iterator that starts where the other one stood.
    with data.train_iterator(0) as batches:
        for state in (0, 5):
            batches.set_state({"next_index": state})
            np.testing.assert_array_equal(next(batches)["label"], drawn[state]["label"])


def test_training_ends_with_one_line_past_the_share(breaking):
    settings, later = breaking
    with loader.Data(settings | {"max_broken": 0.05}).train_iterator(0) as batches:
        later()
        with pytest.raises(ValueError, match="2 of 12 images are broken, and config.data.max_broken=0.05 allows 1"):
            for _ in range(9):
                next(batches)


def test_evaluation_skips_them_too(breaking, caplog):
    settings, later = breaking
    batches = loader.Data(settings | {"max_broken": 0.5}).eval_batches()
    later()
    with caplog.at_level(logging.WARNING):
        labels = [label for batch in batches for label in batch["label"]]
    assert labels == [0, 1, 10, 11, 3, 3, 4, 5, 6, 8, 8, 9]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_the_share_is_one(share):
    with pytest.raises(ValueError, match="config.data.max_broken is a share, 0 to 1, not "):
        loader.Data({"name": "digits", "image_size": 8, "max_broken": share})


def test_a_run_sees_its_folder_as_it_was_at_the_start(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/3.png"):
        paint(tmp_path / name)
    settings = {"name": f"folder:{tmp_path}", "eval_split": "all", "image_size": 8, "max_broken": 0.5}
    data = loader.Data(settings)
    assert data.spec.class_names == ("cat", "dog")
    (tmp_path / "dog/3.png").write_bytes(b"broken")
    paint(tmp_path / "ape/4.png")
    assert data.load_arrays()["label"].tolist() == [0, 0, 0]  # the dog's place is taken by a cat
    (tmp_path / "dog/3.png").unlink()
    data = loader.Data(settings)
    assert data.spec.class_names == ("ape", "cat")
    assert data.load_arrays()["label"].tolist() == [0, 1, 1]
