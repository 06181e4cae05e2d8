"""Splits: the names that people give them, and what is held out where there are none."""

import pytest

from genjax.data.splits import Entry, hold_out, split_of, splits_of


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train training TRAIN Train train2017 train_2017 train-set trainset train_images training_data"),
        ("validation", "val valid validation Validation dev VAL val2014 val_split validation_set"),
        ("test", "test testing Test test2017 test_set eval evaluation held-out"),
        ("", "cat trainer trains tests protest data set 2017 images attest validity developer"),
    ],
)
def test_names_of_splits(split, names):
    assert {name: split_of(name) for name in names.split()} == {name: split for name in names.split()}


def test_eval_is_the_test_split_or_beside_one_the_validation_split():
    assert splits_of(["train", "eval"]) == {"train": "train", "eval": "test"}
    assert splits_of(["train", "eval", "Test"]) == {"train": "train", "eval": "validation", "Test": "test"}
    assert splits_of(["dev", "train", "Evaluation"]) == {"dev": "validation", "train": "train", "Evaluation": "test"}


def test_hold_out_leaves_an_image_of_each_class_to_train_on():
    for seed in range(40):
        small = [Entry(f"{seed}/{c}{n}", f"{seed}/{c}{n}", c) for c, count in (("a", 1), ("b", 2), ("c", 30))
                 for n in range(count)]  # fmt: skip
        splits = hold_out(small)
        assert {entry.label for entry in splits["train"]} == {"a", "b", "c"} and splits["test"]
    single = hold_out([Entry(c, c, c) for c in "abc"])
    assert len(single["train"]) == 2 and len(single["test"]) == 1


def test_hold_out_is_a_tenth_fixed_and_stable_under_growth():
    entries = [Entry(f"/x/{number}.png", f"{number}.png") for number in range(2000)]
    splits = hold_out(entries)
    test = {entry.name for entry in splits["test"]}
    assert 160 < len(test) < 240
    assert [entry for entry in entries if entry.name not in test] == splits["train"]
    fewer = {entry.name for entry in hold_out(entries[:1000])["test"]}
    assert fewer == {name for name in test if int(name[:-4]) < 1000}
    moved = hold_out([entry._replace(path="/elsewhere/" + entry.name) for entry in entries])
    assert {entry.name for entry in moved["test"]} == test


def test_hold_out_ignores_how_accents_are_written():
    names = [f"é{number}.png" for number in range(50)], [f"e\u0301{number}.png" for number in range(50)]
    held = [[e.name[-6:] for e in hold_out([Entry(n, n) for n in some])["test"]] for some in names]
    assert [name.strip("é\u0301e") for name in held[0]] == [name.strip("é\u0301e") for name in held[1]]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_handful_still_has_both_splits(count):
    for seed in range(30):
        entries = [Entry(str(n), f"{seed}/{n}.png") for n in range(count)]
        splits = hold_out(entries)
        assert splits["train"] and splits["test"]
