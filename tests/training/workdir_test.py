"""What a workdir says, and when it belongs to another config."""

import json

import pytest
from ml_collections import ConfigDict

from genjax.training import workdir


def config(**changes):
    made = ConfigDict({"family": "toy", "seed": 0, "data": {"name": "digits", "size": (8, 8)}, "log": {"every": 5},
                       "training": {"num_steps": 10}})  # fmt: skip
    with made.unlocked():
        made.update(changes)
    return made


def test_a_claimed_workdir_gives_its_config_back(tmp_path):
    workdir.claim(tmp_path / "w", config(), interface=())
    assert workdir.read_config(tmp_path / "w").data.name == "digits"
    stage = json.loads((tmp_path / "w" / "stage.json").read_text())
    assert stage["family"] == "toy" and {"genjax", "jax", "flax"} <= stage["versions"].keys()


def test_what_may_change_and_what_may_not(tmp_path):
    workdir.check_config(tmp_path, config())
    workdir.claim(tmp_path, config(), interface=())
    workdir.check_config(tmp_path, config())
    workdir.check_config(tmp_path, config(log={"every": 1}, training={"num_steps": 20}))
    with pytest.raises(ValueError, match=r"data.name: digits there, mnist here; seed: 0 there, 1 here"):
        workdir.check_config(tmp_path, config(seed=1, data={"name": "mnist"}))
    with pytest.raises(ValueError, match="model: absent there, 3 here"):
        workdir.check_config(tmp_path, config(model=3))


def test_how_data_is_read_and_where_its_folder_lies_may_change(tmp_path):
    pets = {"name": "folder:/a/pets", "size": (8, 8), "num_workers": 0, "read_threads": 2}
    workdir.claim(tmp_path, config(data=pets), interface=())
    workdir.check_config(tmp_path, config(data=pets | {"num_workers": 4, "read_threads": 1, "name": "folder:~/pets"}))
    with pytest.raises(ValueError, match="data.name: folder:/a/pets there, digits here"):
        workdir.check_config(tmp_path, config(data=pets | {"name": "digits"}))
    with pytest.raises(ValueError, match="data.size: .*8, 8.* there, .*4, 4.* here"):
        workdir.check_config(tmp_path, config(data=pets | {"size": (4, 4)}))


def test_no_workdir(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        workdir.read_config(tmp_path)
