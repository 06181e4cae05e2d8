"""The table of families: name -> module whose `build` makes it, imported only when requested."""

import importlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from genjax.core.arguments import named
from genjax.families.base import Family
from genjax.typing import DataSpec

FAMILIES = {
    name: f"genjax.families.{name}"
    for name in (
        "autoencoder",
        "beit",
        "biggan",
        "clip",
        "clip_ar_prior",
        "clip_prior",
        "code_prior",
        "dalle",
        "dalle2",
        "diffusion",
        "distillation",
        "dvae",
        "gan",
        "glide",
        "image_classifier",
        "imagen",
        "noisy_classifier",
        "pixelcnnpp",
        "real_nvp",
        "text_encoder",
        "vae",
        "vqvae",
        "vqvae2",
    )
}


@named("config.model.", channels="config.data.")
def build(
    name: str,
    fields: Mapping[str, Any],
    sampling: Mapping[str, Any],
    spec: DataSpec,
    parents: Mapping[str, Any] = MappingProxyType({}),
) -> Family:
    """Make the family `name` from its settings.

    Args:
        name: a key of `FAMILIES`.
        fields: the family's own settings (`config.model`).
        sampling: its defaults for sampling (`config.sampling`).
        spec: shape and classes of the data.
        parents: interfaces of the upstream stages, by name.

    Raises:
        ValueError: for an unknown name, and for settings that the family refuses, or that lack a field.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; config.family is one of {', '.join(sorted(FAMILIES))}")
    try:
        return importlib.import_module(FAMILIES[name]).build(fields, sampling, spec, parents)
    except TypeError as error:  # of a network or another part that is made of a section's fields
        if not re.search(r"__(init|new)__\(\) (missing|got an unexpected)|^missing a required argument: ", str(error)):
            raise
        raise ValueError(f"config.model of the family {name} doesn't fit its parts: {error}") from error
