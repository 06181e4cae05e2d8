"""Reading of checkpoint files: without PyTorch, and without running what they hold."""

import importlib
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from genjax.pretrained import files, registry

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}
needs_safetensors = pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="needs the extra [text]")


@needs_safetensors
def test_safetensors_as_file_as_folder_and_in_parts(tmp_path):
    from safetensors.numpy import save_file

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


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_nothing_but_tensors_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("evil.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Harmful()}))
    with pytest.raises(ValueError, match="system, and only tensors are read"):
        files.read_arrays("evil.pt")
    assert not (tmp_path / "harmed").exists()


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "old.pt").write_bytes(b"\x80\x02")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1, 2]))
    for path, words in (
        (tmp_path / "none.pt", "there is no checkpoint"),
        (tmp_path, "looked for model.safetensors"),
        (tmp_path / "old.pt", "since version 1.6"),
        (tmp_path / "other.pt", "no state dict"),
    ):
        with pytest.raises(ValueError, match=words):
            files.read_arrays(path)
    with pytest.raises(ValueError, match="'runs/one' is no public checkpoint.*KIND one of"):
        registry.convert("runs/one", {})
