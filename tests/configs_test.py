"""What holds for all configs: a variant that a config doesn't have is refused, and told from those that it has."""

import importlib
import re
from pathlib import Path

import pytest

from genjax.configs.recipes import common
from genjax.training import config_check

FILES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("[a-z]*_*.py"))
CONFIGS = [name for name in FILES if hasattr(importlib.import_module(f"configs.{name}"), "get_config")]


@pytest.mark.parametrize("name", CONFIGS)
def test_unknown_variants_are_refused(name):
    get_config = importlib.import_module(f"configs.{name}").get_config
    with pytest.raises(ValueError, match="unknown variant 'huge'.*known: none, .*tiny") as refusal:
        get_config("huge")
    named = re.search("known: none, (.*), as", str(refusal.value)).group(1).split(", ")
    documented = re.findall(r'"(\w+)"', get_config.__doc__)
    assert set(named) == set(documented)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_is_in_its_range(name):
    for variant in ("", "tiny"):
        config = importlib.import_module(f"configs.{name}").get_config(variant)
        for run in config.stages.values() if config_check.is_chain(config) else (config,):
            assert config_check.check(run).to_dict() == run.to_dict()


def test_the_known_ones_are_named():
    common.expect_variant(""), common.expect_variant("tiny"), common.expect_variant("16", "16")
    with pytest.raises(ValueError, match="'8' of the config; known: none, 16, scratch, tiny"):
        common.expect_variant("8", "16", "scratch")
