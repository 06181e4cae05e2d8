"""Classes by name: the right number, or both readings of a number that is another class's name."""

import pytest

from genjax.data.labels import label_of

PETS = ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("text", "names", "number"),
    [
        ("owl", PETS, 2),
        (" dog ", PETS, 1),
        ("2", PETS, 2),
        ("caf\u00e9", ("bar", "cafe\u0301"), 1),
        ("7", tuple("0123456789"), 7),  # both readings agree
        ("1", ("9", "1"), 1),
        ("name:1", ("1", "2", "3"), 0),
        ("id:1", ("1", "2", "3"), 1),
        ("3", ("1", "2", "3"), 2),  # no number 3
        ("id:x", ("a", "id:x"), 1),
    ],
)
def test_names_and_numbers(text, names, number):
    assert label_of(text, names) == number


def test_classes_without_names_go_by_number():
    assert label_of("9", (), 10) == 9
    with pytest.raises(ValueError, match="'10' is no class: they are the numbers 0 to 9"):
        label_of("10", (), 10)


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("1", ("1", "2", "3"), r"named '1', which is number 0, or number 1, which is named '2'; write name:1 or id:1"),
        ("0", ("1", "0"), r"named '0', which is number 1, or number 0, which is named '1'"),
        ("Dgo", PETS, r"'Dgo' is no class: is it 'dog'\?"),
        ("CAT", PETS, r"is it 'cat'\?"),
        ("-1", PETS, r"they are 'cat', 'dog', 'owl', or the numbers 0 to 2"),
        ("3", PETS, "is no class"),
        ("1.0", PETS, "is no class"),
        ("\u0661", PETS, "is no class"),
        ("name:1", PETS, "is no class"),
        ("id:cat", PETS, "is no class"),
        ("", PETS, "is no class"),
        ("9" * 5000, PETS, "is no class"),
        ("cat", (), "there are no classes"),
    ],
)
def test_what_is_no_class_or_two_is_refused(text, names, message):
    with pytest.raises(ValueError, match=message):
        label_of(text, names)
