"""Families by name: what they are made of is refused in one line where it doesn't fit."""

import pytest

from genjax.configs import biggan_digits, classifier_digits, ddpm_digits, dvae_digits, real_nvp_digits
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


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (ddpm_digits, {"network.channel_mult": ()}, "channel_mult=.. names no level"),
        (ddpm_digits, {"network.num_groups": 3}, "16 channels can't be cut into 3 groups"),
        (ddpm_digits, {"network.channel_mult": (1, 1.25), "network.num_groups": 8}, "20 channels .* into 8 groups"),
        (classifier_digits, {"network.channel_mult": ()}, "channel_mult=.. names no level"),
        (classifier_digits, {"network.num_groups": 3}, "8 channels can't be cut into 3 groups"),
        (dvae_digits, {"network.channel_mult": ()}, "channel_mult=.. names no level"),
        (biggan_digits, {"generator.channel_mult": ()}, "channel_mult=.. names no level"),
        (biggan_digits, {"discriminator.channel_mult": ()}, "channel_mult=.. names no level"),
        (real_nvp_digits, {"network.num_groups": 3}, "4 channels can't be cut into 3 groups"),
    ],
)
def test_levels_and_groups_that_cannot_be_are_refused_when_the_family_is_built(config, changes, words):
    """Nothing is traced: `build` alone says so, before data is read or a network sees an image."""
    config = config.get_config("tiny").to_dict()
    for path, value in changes.items():
        section, field = path.split(".")
        config["model"][section][field] = value
    with pytest.raises(ValueError, match=words):
        registry.build(config["family"], config["model"], config["sampling"], DataSpec((8, 8, 1), 10))
