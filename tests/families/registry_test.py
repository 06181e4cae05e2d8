"""Families by name: what they are made of is refused in one line where it doesn't fit."""

import pytest

from genjax.configs import ddpm_digits
from genjax.families import registry
from genjax.typing import DataSpec


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"name": "unet"}, "config.model of the family diffusion doesn't fit its parts: .*missing .*'width'"),
        ({"name": "unet", "width": 8, "colour": 1}, "the network unet has no field 'colour'"),
        ({"name": "unett"}, "unknown network 'unett'"),
    ],
)
def test_a_network_of_other_fields_is_refused(network, words):
    config = ddpm_digits.get_config("tiny").to_dict()
    with pytest.raises(ValueError, match=words):
        registry.build("diffusion", config["model"] | {"network": network}, config["sampling"], DataSpec((8, 8, 1), 10))


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="unknown family 'painting'; config.family is one of autoencoder, "):
        registry.build("painting", {}, {}, DataSpec((8, 8, 1)))
