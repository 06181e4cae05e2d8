"""Stages that were moved are found by the name that says where they lie."""

import pytest

from genjax.training import places


def test_a_stage_lies_where_it_is_said(tmp_path):
    with places.override([f"tokenizer:{tmp_path}"]):
        assert places.member(tmp_path / "chain", "tokenizer") == tmp_path
        assert places.member(tmp_path / "chain", "prior") == tmp_path / "chain" / "prior"
    assert places.member(tmp_path / "chain", "tokenizer") == tmp_path / "chain" / "tokenizer"


@pytest.mark.parametrize(
    ("text", "words"),
    [("tokenizer", "must be NAME:DIR"), (":x", "must be NAME:DIR"), ("a:", "must be NAME:DIR"),
     ("a:/no/such", "no folder /no/such")],
)  # fmt: skip
def test_what_is_no_place_is_refused(text, words):
    with pytest.raises(ValueError, match=words), places.override([text]):
        pass


def test_a_name_that_no_stage_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--stage=tokeniser:.*: no stage has this name.*: tokenizer"):
        with places.override([f"tokeniser:{tmp_path}"]):
            places.member(tmp_path, "tokenizer")
