"""The table of families: name -> module whose `build` makes it, imported only when asked for."""

import importlib
from collections.abc import Mapping
from typing import Any

from genjax.families.base import Family
from genjax.typing import DataSpec

FAMILIES = {
    "diffusion": "genjax.families.diffusion",
    "noisy_classifier": "genjax.families.noisy_classifier",
}


def build(name: str, model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec) -> Family:
    """Make the family `name` from its settings.

    Args:
        name: a key of `FAMILIES`.
        model: the family's own settings (`config.model`).
        sampling: its defaults for sampling (`config.sampling`).
        spec: shape and classes of the data.

    Raises:
        ValueError: for an unknown name, and for settings that the family refuses.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; config.family is one of {', '.join(sorted(FAMILIES))}")
    return importlib.import_module(FAMILIES[name]).build(model, sampling, spec)
