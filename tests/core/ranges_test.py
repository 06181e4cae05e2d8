import math

import pytest

from genjax.core.ranges import COUNT, FINITE, SEED, SHARE, Range


@pytest.mark.parametrize(
    ("within", "inside", "outside"),
    [
        (FINITE, [-1e30, 0, 3], [math.nan, math.inf, -math.inf, "3", None, True]),
        (SHARE, [0, 0.5, 1], [-1e-9, 1.0001, math.nan]),
        (Range(0, 1, above=True), [1e-9, 1], [0, -0.0]),
        (Range(0, 1, below=True), [0, 0.999], [1]),
        (COUNT, [1, 2.0], [0, -1, 1.5]),
        (Range(1, whole=True, also=(-1,)), [-1, 1], [0, -2]),
        (SEED, [0, 2**32 - 1], [-1, 2**32, 1e20]),
    ],
)
def test_what_belongs_to_a_range(within, inside, outside):
    assert all(value in within for value in inside)
    assert not any(value in within for value in outside)


@pytest.mark.parametrize("text", ["1e20", "-1", "4294967296", "1.5", "abc", "nan", ""])
def test_a_seed_is_a_whole_number_of_32_bits(text):
    with pytest.raises(ValueError, match="must be a whole number, at least 0 and at most 4294967295"):
        SEED.parse(text)


def test_a_number_keeps_its_type():
    assert repr(SEED.parse("7")) == "7" and repr(SHARE.parse("1")) == "1.0"


def test_the_error_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"^top_p=1\.5 must be a finite number, more than 0 and at most 1$"):
        Range(0, 1, above=True).check("top_p", 1.5)
    with pytest.raises(ValueError, match=r"^data=0 must be a whole number, at least 1, or -1$"):
        Range(1, whole=True, also=(-1,)).check("data", 0)
