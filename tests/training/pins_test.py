"""What a child builds on is kept."""

import json
import os

import pytest

from genjax.training import pins


def make(tmp_path, *steps):
    for step in steps:
        (tmp_path / "parent" / "checkpoints" / str(step)).mkdir(parents=True)
    return tmp_path / "parent"


def test_a_pin_says_whose_it_is_and_moves_with_its_child(tmp_path):
    parent = make(tmp_path, 4, 8)
    assert pins.steps(parent) == set()
    pins.pin(parent, 4, tmp_path / "prior")
    pins.pin(parent, 4, tmp_path / "other")
    pins.pin(parent, 8, tmp_path / "prior")
    assert pins.steps(parent) == {4, 8}
    whose = {json.loads(path.read_text())["child"] for path in (parent / "pins").glob("8-*.json")}
    assert whose == {str(tmp_path / "prior")} and len(list((parent / "pins").iterdir())) == 2


def test_a_checkpoint_that_went_meanwhile_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="deleted its step 5 just now"):
        pins.pin(make(tmp_path, 4), 5, tmp_path / "child")


def test_a_parent_that_cannot_be_written_to_is_warned_of(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    pins.pin(make(tmp_path, 4), 4, tmp_path / "child")
    assert "needs its step 4" in caplog.text and pins.steps(tmp_path / "parent") == set()
