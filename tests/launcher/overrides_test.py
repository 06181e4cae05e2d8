"""Fields of a config are set on the command line in the kind that they have, or refused in one line."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from genjax.launcher import config_files, overrides


def _config():
    config = ConfigDict(
        {
            "seed": 0,
            "name": "",
            "training": {"num_steps": 10, "rate": 0.5, "skip": True},
            "mult": (1, 2),
            "sigmas": (0.1, 2.0),
            "range": (),
            "guides": (),
            "patterns": ("row", "column"),
            "flags": (True, False),
            "nested": ((1, 2), (3,)),
            "tokenizer": {},
        }
    )
    return config.lock()


def _applied(*words):
    rest, found = overrides.split(words)
    config = _config()
    overrides.apply(config, found)
    return rest, config


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--config.seed=7"], "seed", 7),
        (["--config.seed", "7"], "seed", 7),
        (["-config.seed=7"], "seed", 7),
        (["--config.seed", "-7"], "seed", -7),
        (["--config.seed=1_000"], "seed", 1000),
        (["--config.seed=0x10"], "seed", 16),
        (["--config.seed=1", "--config.seed=2"], "seed", 2),
        (["--config.training.rate=2"], "training.rate", 2.0),
        (["--config.training.rate=1e-4"], "training.rate", 1e-4),
        (["--config.training.skip"], "training.skip", True),
        (["--noconfig.training.skip"], "training.skip", False),
        (["--config.training.skip=False"], "training.skip", False),
        (["--config.training.skip", "0"], "training.skip", False),
        (["--config.name="], "name", ""),
        (["--config.name=a=b c"], "name", "a=b c"),
        (["--config.name=7"], "name", "7"),
        (["--config.name=none"], "name", "none"),
        (["--config.mult=1,2,4"], "mult", (1, 2, 4)),
        (["--config.mult=(1, 2)"], "mult", (1, 2)),
        (["--config.mult=0.5,1"], "mult", (0.5, 1)),
        (["--config.mult=[3]"], "mult", (3,)),
        (["--config.mult=3"], "mult", (3,)),
        (["--config.mult=1", "--config.mult=2"], "mult", (1, 2)),
        (["--config.mult=()"], "mult", ()),
        (["--config.mult="], "mult", ()),
        (["--config.sigmas=1,2.5"], "sigmas", (1, 2.5)),
        (["--config.range=0.1,3"], "range", (0.1, 3)),
        (["--config.guides=image:a.png,b:1"], "guides", ("image:a.png,b:1",)),
        (["--config.guides=('a', 'b')"], "guides", ("a", "b")),
        (["--config.guides=a", "--config.guides=b"], "guides", ("a", "b")),
        (["--config.guides=3"], "guides", ("3",)),
        (["--config.patterns=row"], "patterns", ("row",)),
        (["--config.flags=True,False,True"], "flags", (True, False, True)),
        (["--config.nested=[[1],[2,3]]"], "nested", ((1,), (2, 3))),
    ],
)
def test_fields_are_set_in_their_kind(words, field, value):
    rest, config = _applied("program", *words, "--workdir=x")
    assert rest == ["program", "--workdir=x"]
    found = config
    for name in field.split("."):
        found = found[name]
    assert found == value and type(found) is type(value)
    assert config.is_locked


def test_a_whole_section_may_be_set():
    _, config = _applied("--config.tokenizer={'name': 'bpe', 'length': 16}")
    assert config.tokenizer.to_dict() == {"name": "bpe", "length": 16}


def test_words_behind_two_dashes_are_left_alone():
    assert overrides.split(["a", "--", "--config.seed=1"]) == (["a", "--", "--config.seed=1"], [])


KINDS = {
    "seed": "must be a whole number",
    "training.num_steps": "must be a whole number",
    "training.rate": "must be a finite number",
    "training.skip": "must be true or false",
    "training": "is a section of fields: set one of its fields, such as --config.training.num_steps",
    "tokenizer": "is a section of fields: write {'name': value, ...}",
    "mult": r"must be numbers with commas between, such as 1,2",
    "sigmas": r"must be numbers with commas between",
    "range": r"must be numbers with commas between",
    "flags": r"must be True or False with commas between",
}
WRONG = {
    "seed": ["abc", "1.5", "1e4", "None", "true", "[1, 2]", "", "nan", "inf", "1,2", "1 2", "9" * 5000],
    "training.num_steps": ["abc", "1.5", "1e4", "None", "true", "(1,)"],
    "training.rate": ["abc", "None", "true", "[1.0]", "", "nan", "-inf", "1/3", "1,5", "1e999"],
    "training.skip": ["abc", "1.5", "None", "2", "[]", "", "Truee"],
    "training": ["3", "None", "true", "[]", "abc", ""],
    "tokenizer": ["3", "None", "bpe", "['bpe']", "{1: 2}"],
    "mult": ["abc", "1,a", "None", "true", "{}", "1,None", "(1", "nan", "1;2"],
    "sigmas": ["abc", "None", "true", "1,None", "'a'"],
    "range": ["abc", "None", "true"],
    "flags": ["1", "abc", "None"],
}


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in WRONG.items() for text in texts])
def test_another_kind_is_refused_with_field_value_and_kind(field, text):
    word = f"--config.{field}={text}"
    with pytest.raises(ValueError, match=KINDS[field]) as error:
        _applied(word)
    assert str(error.value).startswith(f"{word}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.seed=1e4"], "--config.seed=1e4: must be a whole number: write 10000"),
        (["--config.name=None"], "--config.name=None: must be a text, and None is none: write --config.name= for"),
        (["--config.seed"], "--config.seed: has no value: a whole number is expected, as in --config.seed=0"),
        (["--config.seed", "--workdir=x"], "--config.seed: has no value"),
        (["--config.mult"], "--config.mult: has no value: a tuple is expected, as in --config.mult=1,2"),
        (["--noconfig.seed"], "--noconfig.seed: only what is true or false can be negated, and this is a whole num"),
        (["--noconfig.training.skip=1"], "--noconfig.training.skip=1: takes no value"),
        (["--config.training.nun_steps=3"], "field --config.training.nun_steps; is it --config.training.num_steps?"),
        (["--config.trainign.num_steps=3"], "--config.trainign.num_steps; is it --config.training.num_steps?"),
        (["--config.num_steps=3"], "unknown config field --config.num_steps; is it --config.training.num_steps?"),
        (["--config.training.zzz=3"], "--config.training.zzz: config.training has num_steps, rate, skip"),
        (["--config.tokenizer.zzz=3"], "--config.tokenizer.zzz: config.tokenizer has no fields"),
        (["--config.name.x=3"], "unknown config field --config.name.x: config.name is a text, not a section"),
        (["--config.seed.x.y=3"], "--config.seed.x.y: config.seed is a whole number, not a section"),
        (["--config.=3"], "unknown config field --config."),
        (["--config.training.=3"], "unknown config field --config.training.: config.training has"),
        (["--config.training..rate=3"], "unknown config field --config.training..rate"),
    ],
)
def test_what_cannot_be_set_is_one_line(words, message):
    with pytest.raises(ValueError) as error:
        _applied(*words)
    assert message in str(error.value) and "\n" not in str(error.value)


def _leaves(section, before=""):
    for name, value in section.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def test_every_field_of_every_config_can_be_set_to_what_it_is(root, monkeypatch):
    monkeypatch.chdir(root)
    for path in sorted(Path("configs").glob("*.py")):
        if "\ndef get_config(" not in path.read_text():
            continue
        config = config_files.read(str(path))
        fields = dict(_leaves(config))
        overrides.apply(config, [overrides.Override(name, str(value)) for name, value in fields.items()])
        assert dict(_leaves(config)) == fields, path
