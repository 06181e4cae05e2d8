"""The scalars that people may set where samples are drawn, as `ImageSampler.options` names them: meaning and range.

Families say which of them they know and at which value each changes nothing; what it means and which values there are
is the same for all families, and said here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from genjax.core.ranges import AT_LEAST_0, COUNT_OR_0, FINITE, SHARE, Range


class Option(NamedTuple):
    """One of them.

    Attributes:
        usage: what it does, for people.
        within: its range.
    """

    usage: str
    within: Range


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "guidance_scale": Option("Strength of guidance, 1 = none", FINITE),
        "prior_guidance_scale": Option("Strength of guidance of the prior of a DALL-E 2, 1 = none", FINITE),
        "aug_level": Option("Noise on the low-resolution images between the stages of a cascade, 0 = none", SHARE),
        "truncation": Option("Truncation of a GAN's noise, 0 = none", AT_LEAST_0),
        "temperature": Option("Temperature of an autoregressive model, 0 = the most likely code", AT_LEAST_0),
        "top_k": Option("Draw from the k most likely codes only, 0 = from all", COUNT_OR_0),
        "top_p": Option(
            "Draw from the most likely codes that make up this probability, 1 = from all", Range(0, 1, above=True)
        ),
    }
)


def check(values: Mapping[str, float]) -> None:
    """Nothing, for values in their ranges; names that aren't in `OPTIONS` have none.

    Raises:
        ValueError: for another, with its name.
    """
    for name, value in values.items():
        if name in OPTIONS:
            OPTIONS[name].within.check(name, value)
