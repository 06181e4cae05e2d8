"""Which numbers an argument may have, said once: checked where it is read, with the same words everywhere."""

import math
from typing import Any, NamedTuple

import numpy as np


class Range(NamedTuple):
    """An interval of finite numbers.

    Attributes:
        low, high: its ends, which belong to it unless said otherwise.
        above: whether `low` itself is excluded.
        below: whether `high` itself is excluded.
        whole: whether only whole numbers belong to it.
        also: numbers outside that belong to it as well.
    """

    low: float | int = -math.inf
    high: float | int = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    also: tuple[float | int, ...] = ()

    def __contains__(self, value: Any) -> bool:
        if not _is_number(value) or not math.isfinite(value) or (self.whole and value != math.floor(value)):
            return False
        inside = (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )
        return inside or value in self.also

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'more than' if self.above else 'at least'} {_text(self.low)}")
        if self.high < math.inf:
            bounds.append(f"{'less than' if self.below else 'at most'} {_text(self.high)}")
        words = f"{kind}{', ' if bounds else ''}{' and '.join(bounds)}"
        return words + "".join(f", or {_text(value)}" for value in self.also)

    def check(self, name: str, value: Any) -> None:
        """Nothing, for a number of the range.

        Raises:
            ValueError: for anything else, with its name and what it may be.
        """
        if value not in self:
            raise ValueError(f"{name}={value!r} must be {self}")

    def parse(self, text: str) -> float | int:
        """The number that a text says: an int of a range of whole numbers.

        Raises:
            ValueError: for a text that is no number of the range.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            raise ValueError(f"must be {self}{self._hint(text)}") from None
        if value not in self:
            raise ValueError(f"must be {self}")
        return value

    def _hint(self, text: str) -> str:
        """How a whole number is written that is there as 1e4 or 3.0."""
        try:
            value = float(text)
        except ValueError:
            return ""
        return f": write {int(value)}" if self.whole and value in self and abs(value) < 2**53 else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _text(value: float | int) -> str:
    return str(int(value)) if value == math.floor(value) else f"{value:g}"


FINITE = Range()
SHARE = Range(0, 1)
POSITIVE = Range(0, above=True)
AT_LEAST_0 = Range(0)
COUNT = Range(1, whole=True)
COUNT_OR_0 = Range(0, whole=True)
SEED = Range(0, 2**32 - 1, whole=True)
"""What tells seeds apart everywhere: a random key of jax keeps 32 bits."""
