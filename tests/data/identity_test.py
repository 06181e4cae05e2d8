"""What differs between the data of a run and the data that is there now is named, and nothing else is."""

import json

import pytest

from genjax.data.identity import compare, fingerprint
from genjax.typing import DataSpec


def lines(train=("a 1", "b 2"), test=("c 3",), captions=()):
    return fingerprint({"train": (len(train), train, captions), "test": (len(test), test, ())})


NOTED = DataSpec((8, 8, 3), 3, ("cat", "dog", "owl"), 2, True, 16, 100, lines())


def test_classes_of_data_that_was_never_looked_at_are_not_compared():
    noted = DataSpec((8, 8, 3), 0, has_text=True, text_length=16, vocab_size=100)
    assert compare(noted, NOTED) is None
    assert compare(noted._replace(num_classes=2), NOTED) == "there are 3 classes, and there were 2"


def test_a_fingerprint_has_a_line_a_split_and_survives_json():
    assert [line.split()[:2] for line in lines()] == [["test", "1"], ["train", "2"]]
    assert tuple(json.loads(json.dumps(lines()))) == lines()
    assert lines(train=("b 2", "a 1")) != lines() and lines(train=("a 1b 2",)) != lines(train=("a 1", "b 2"))
    assert fingerprint({"train": (1, ["caf\udce9.png"], [])})  # a name that is no UTF-8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": (16, 16, 3)}, "images are 16x16x3 (height x width x channels), and were 8x8x3"),
        ({"class_names": ("cat", "owl", "dog")}, "the classes have another order: class 1 is 'owl', and was 'dog'"),
        ({"class_names": ("cat", "hound", "owl")}, "1 of 3 classes were renamed: 'dog' is now 'hound'"),
        (
            {"class_names": ("ape", "cat", "dog", "owl"), "num_classes": 4},
            "there are 4 classes, and there were 3 (new: 'ape')",
        ),
        ({"class_names": ("cat", "owl"), "num_classes": 2}, "there are 2 classes, and there were 3 (gone: 'dog')"),
        ({"class_names": (), "num_classes": 0}, "there are no classes, and there were 3"),
        ({"has_text": False}, "the captions are gone"),
        ({"text_length": 8}, "there are 8 tokens of a caption, and there were 16"),
        ({"vocab_size": 7}, "there are 7 tokens in the vocabulary, and there were 100"),
    ],
)
def test_what_the_network_depends_on(change, message):
    for contents in (True, False):
        assert compare(NOTED, NOTED._replace(**change), contents) == message


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (lines(train=("a 1",)), "train: there are 1 images, and there were 2"),
        (lines(train=("a 1", "b 9")), "train: as many images as before (2), but some were renamed, replaced or alt"),
        (lines(captions=("a",)), "train: some captions were altered"),
        (lines()[:1], "the splits are test, and were test, train"),
    ],
)
def test_contents(now, message):
    assert compare(NOTED, NOTED._replace(fingerprint=now)).startswith(message)
    assert compare(NOTED, NOTED._replace(fingerprint=now), contents=False) is None


def test_nothing_differs_and_what_was_not_noted_is_not_compared():
    assert compare(NOTED, NOTED) is None
    assert compare(NOTED._replace(fingerprint=()), NOTED) is None
