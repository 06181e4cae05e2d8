"""Errors of deep code name their arguments, and whoever read these from a config says where they stand."""

import pickle
import re

import pytest

from genjax.core.arguments import ArgumentError, arg, named
from genjax.data import loader
from genjax.data.records import DatasetNotFound


@named("config.data.", seed="config.")
def refuse(kind=ArgumentError):
    raise kind(f"{arg('size')}=0 and {arg('seed')}=1 don't fit {arg('tokenizer')}.length")


@pytest.mark.parametrize("kind", [ArgumentError, DatasetNotFound])
def test_each_argument_gets_its_prefix_once(kind):
    with pytest.raises(kind, match="^config.data.size=0 and config.seed=1 don't fit config.data.tokenizer.length$"):
        with named("other."):
            refuse(kind)


def test_without_a_config_an_argument_is_its_name():
    error = ArgumentError(f"{arg('size')}=0 must be at least 1")
    assert str(error) == "size=0 must be at least 1"
    with pytest.raises(ArgumentError, match="^its.size=0"), named("its."):
        raise pickle.loads(pickle.dumps(error))  # as of a worker process


def test_data_names_fields_of_its_config():
    with pytest.raises(ValueError, match="^config.data.channels must be 1 .grey. or 3 .RGB., not 2$"):
        loader.Data({"name": "digits", "image_size": 8, "channels": 2})


def test_nothing_below_the_families_says_where_in_a_config_its_arguments_stand(root):
    """But for the one place where `config.data` is opened; docstrings may say in `backquotes` what a value is."""
    below = ("diffusion", "conditioning", "losses", "autoregressive", "data", "nn", "metrics")
    paths = [path for room in below for path in (root / "genjax" / room).rglob("*.py")]
    pattern = re.compile(r"(?<![`\w])config\.(data|model|sampling|training|log|seed|init_from|stages)\b")
    found = [line for path in paths for line in path.read_text().split("\n") if pattern.search(line)]
    assert [line for line in found if "IN_CONFIG = " not in line] == []
