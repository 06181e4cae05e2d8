"""What a workdir has noted is read in the form that it was written in, or its file is named."""

import json

import pytest

from genjax.training import nesting, noted
from genjax.typing import DataSpec

SPEC = DataSpec((8, 8, 3), 2, ("cat", "dog"), 10, True, 16, 300, ("train: x",))


def test_a_spec_is_read_as_it_was_written(tmp_path):
    assert noted.data_spec(tmp_path, json.loads(json.dumps(SPEC._asdict()))) == SPEC
    assert noted.data_spec(tmp_path, {"image_shape": [8, 8, 1]}) == DataSpec((8, 8, 1))
    assert noted.data_spec(tmp_path, None) is None


@pytest.mark.parametrize("data", [3, "x", [], [1], True])
def test_data_that_is_none_is_refused(tmp_path, data):
    with pytest.raises(ValueError, match="stage.json says .* of the data: restore it from a backup"):
        noted.data_spec(tmp_path / "stage.json", data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", 8),
        ("image_shape", [8, 8]),
        ("image_shape", [8, 8, -1]),
        ("image_shape", ["8", "8", "3"]),
        ("num_classes", -1),
        ("num_classes", 2.0),
        ("num_classes", None),
        ("num_classes", True),
        ("class_names", "cat"),
        ("class_names", [1, 2]),
        ("has_text", 1),
        ("fingerprint", None),
    ],
)
def test_fields_of_another_kind_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"stage.json says {name}=.* of the data, which can't be: restore it"):
        noted.data_spec(tmp_path / "stage.json", SPEC._asdict() | {name: value})


def test_unknown_and_missing_fields_are_refused(tmp_path):
    for data in ({"image_shape": [8, 8, 3], "colour": 1}, {}):
        with pytest.raises(ValueError, match="stage.json says of the data what this version"):
            noted.data_spec(tmp_path / "stage.json", data)


@pytest.mark.parametrize("stages", [None, 3, [], "x", {"a": 3}, {"a": {"step": "1", "checksum": 2}}])
def test_upstream_stages_that_are_none_are_refused(tmp_path, stages):
    with pytest.raises(ValueError, match="stage.json says .* of its upstream stages: restore it"):
        noted.upstream(tmp_path / "stage.json", stages)
    right = {"a": {"step": 1, "checksum": 2}}
    assert noted.upstream(tmp_path, right) is right


@pytest.mark.parametrize("stages", [3, "x", [], [1], [None], [["a"]], [""], {"a": 1}])
def test_a_chain_without_names_is_refused(tmp_path, stages):
    (tmp_path / "pipeline.json").write_text(json.dumps({"stages": stages}))
    with pytest.raises(ValueError, match="pipeline.json names no stages: run genjax-pipeline again"):
        nesting.locate(tmp_path)
