"""Reading of checkpoint files: without PyTorch, and without running what they hold."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from genjax.pretrained import files, registry
from tests.pretrained.torch_archive import tensor, write

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}


def test_safetensors_as_file_as_folder_and_in_parts(tmp_path):
    save_file(ARRAYS, tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", tmp_path):
        found = files.read_arrays(path)
        assert found.keys() == ARRAYS.keys()
        np.testing.assert_array_equal(found["a.weight"], ARRAYS["a.weight"])
    parts = tmp_path / "parts"
    parts.mkdir()
    places = {name: f"{i}.safetensors" for i, name in enumerate(ARRAYS)}
    for name, part in places.items():
        save_file({name: ARRAYS[name]}, parts / part)
    (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert files.read_arrays(parts).keys() == ARRAYS.keys()


def test_bfloat16_is_read_and_float8_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    for kind, data in (("BF16", b"\x80\x3f"), ("F8_E4M3", b"\x38")):
        header = json.dumps({"w": {"dtype": kind, "shape": [1], "data_offsets": [0, len(data)]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)
        if kind == "BF16":
            assert float(files.read_arrays(path)["w"][0]) == 1.0
    with pytest.raises(ValueError, match="x.safetensors holds tensors of the type float8_e4m3fn; save it as float32"):
        files.read_arrays(path)


@pytest.mark.parametrize("name", ["x.pt", "x.bin", "x.safetensors", "x"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "git-lfs pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"\xef\xbb\xbf\n  <html lang='en'>", "is a web page"),
        (b'{"error": "not found"}', "is a JSON text"),
        (b"\x80\x02", "is a bare pickle, as PyTorch wrote before 1.6"),
        (b"GGUF\3\0\0\0", "is a GGUF file"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\x1f\x8b\x08rest", "is a compressed file"),
        (b"PK\x03\x04rest", "is cut short or damaged"),
        (b"just some words", "is neither safetensors nor|is no whole safetensors file"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{", "is no whole safetensors file"),
    ],
)
def test_what_a_file_is_instead(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} .*({words})"):
        files.read_arrays(tmp_path / name)


def test_what_cannot_be_read_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1, 2]))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("cat.png", b"")
    (tmp_path / "folder.pt").mkdir()
    for path, words in (
        (tmp_path / "none.pt", "there is no checkpoint"),
        (tmp_path, "looked for model.safetensors"),
        (tmp_path / "folder.pt", "no checkpoint in the folder .*folder.pt; looked for"),
        (tmp_path / "other.pt", "no state dict"),
        (tmp_path / "photos.zip", "not one of PyTorch's"),
    ):
        with pytest.raises(ValueError, match=words):
            files.read_arrays(path)
    with pytest.raises(ValueError, match="'runs/one' is no public checkpoint.*KIND one of"):
        registry.read("runs/one")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.pt").write_bytes(b"PK")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ValueError, match="x.pt can't be read: Permission denied"):
        files.read_arrays(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "no index of a checkpoint"),
        ("{}", "no index of a checkpoint"),
        ("[" * 100_000, "no index of a checkpoint"),
        ('{"weight_map": {}}', "holds no tensors; fetch it again"),
        ('{"weight_map": ["a"]}', "no index of a checkpoint"),
        ('{"weight_map": {"a.weight": "one.safetensors", "b": "two.safetensors"}}', "aren't beside it, such as two"),
        ('{"weight_map": {"a.weight": "../one.safetensors"}}', "aren't beside it, such as ../one"),
        ('{"weight_map": {"a.weight": "one.safetensors", "c": "one.safetensors"}}', "lacks 1 tensors, such as 'c'"),
    ],
)
def test_an_index_that_is_not_whole(tmp_path, index, words):
    save_file(ARRAYS, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=words):
        files.read_arrays(tmp_path)


def several(path, content):
    """A file of PyTorch of nested mappings, whose numbers are tensors of one number."""

    def leaves(value):
        if isinstance(value, dict):
            return {key: leaves(one) for key, one in value.items()}
        return tensor((1,), (1,), offset=value) if isinstance(value, int) else value

    return write(path, leaves(content))


@pytest.mark.parametrize(
    ("content", "weights", "expected"),
    [
        ({"model": {"w": 1}, "ema": {"w": 2}}, "", 2),
        ({"model": {"w": 1}, "ema": {"w": 2}}, "model", 1),
        ({"model": {"w": 1}, "model_ema": {"w": 2}, "optimizer": {"lr": 0.1}}, "", 2),
        ({"state_dict": {"w": 1}, "ema_state_dict": {"w": 2}, "epoch": "3"}, "", 2),
        ({"net": {"w": 1}, "discriminator": {"w": 2}}, "", 1),
        ({"net": {"w": 1}, "discriminator": {"w": 2}}, "discriminator", 2),
        ({"checkpoint": {"params": {"w": 1}, "params_ema": {"w": 2}}}, "", 2),
        ({"weights": {"w": 1}}, "", 1),
        ({"w": 1}, "", 1),
    ],
)
def test_the_moving_average_is_taken_and_said(tmp_path, capsys, content, weights, expected):
    path = several(tmp_path / "x.pt", content)
    assert files.read_arrays(path, weights)["w"] == [expected]
    several_sets = sum(isinstance(value, dict) for value in content.values()) > 1 or "checkpoint" in content
    assert ("--weights=NAME takes another" in capsys.readouterr().out) == (several_sets and not weights)


@pytest.mark.parametrize(
    ("content", "weights", "words"),
    [
        ({"one": {"w": 1}, "two": {"w": 2}}, "", "several sets of weights; name one, --weights=one or two"),
        ({"ema": {"w": 1}, "ema_slow": {"w": 2}, "model": {"w": 3}}, "", "name one, --weights=ema or ema_slow"),
        ({"model": {"w": 1}}, "ema", "has no weights 'ema'; --weights is one of model"),
        ({"model": {"epoch": "w"}}, "", "holds no state dict"),
    ],
)
def test_which_weights_are_meant_is_requested(tmp_path, content, weights, words):
    with pytest.raises(ValueError, match=words):
        files.read_arrays(several(tmp_path / "x.pt", content), weights)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["module.a.w", "module.b"], ["a.w", "b"]),
        (["_orig_mod.a.w", "_orig_mod.b"], ["a.w", "b"]),
        (["module._orig_mod.model.a.w", "module._orig_mod.model.b"], ["a.w", "b"]),
        (["n_averaged", "module.a.w", "module.b"], ["a.w", "b"]),
        (["block._orig_mod.a.w", "b"], ["block.a.w", "b"]),
        (["model.a.w", "head.b"], ["model.a.w", "head.b"]),
        (["module", "module.a"], ["module", "module.a"]),
    ],
)
def test_names_of_wrappers_are_taken_off_where_all_have_them(keys, expected):
    found = files.without_wrappers({key: np.zeros(1) for key in keys})
    assert sorted(found) == sorted(expected)
