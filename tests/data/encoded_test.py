"""What is written comes back, and the wrong folder is refused."""

import numpy as np
import pytest

from genjax.data import encoded, loader

SETTINGS = {"name": "digits", "image_size": 8, "channels": 1, "batch_size": 4}


@pytest.fixture
def codes(tmp_path):
    """(folder, codes of all records) of two processes' files with two levels of codes and labels."""
    rng = np.random.default_rng(0)
    shapes = {"codes_0": (2, 2), "codes_1": (4, 4), "label": ()}
    everything = {name: rng.integers(0, 512, (11, *shape)).astype(np.int32) for name, shape in shapes.items()}
    for process, part in enumerate((slice(0, 6), slice(6, 11))):
        batches = [{name: array[part][:3] for name, array in everything.items()}]
        batches.append({name: array[part][3:] for name, array in everything.items()})
        fields, count = encoded.write_split(tmp_path, "train", batches, process, 2)
        assert count == (6, 5)[process]
    manifest = encoded.Manifest(fields, {"train": 11}, encoded.pictures_of(SETTINGS), {"step": 3, "checksum": 7}, 2)
    encoded.write_manifest(tmp_path, manifest)
    return tmp_path, everything


def test_records_come_back(codes):
    folder, everything = codes
    records = encoded.Records(folder, "train", SETTINGS)
    assert len(records) == 11 and encoded.read_manifest(folder).stage == {"step": 3, "checksum": 7}
    for index in range(11):
        for name, array in everything.items():
            np.testing.assert_array_equal(records[index][name], array[index])


def test_the_loader_gives_codes_instead_of_pictures(codes):
    folder, everything = codes
    settings = SETTINGS | {"encoded": str(folder), "eval_split": "train"}
    seen = np.concatenate([batch["label"][batch["mask"] > 0] for batch in loader.eval_batches(settings)])
    np.testing.assert_array_equal(seen, everything["label"])
    with loader.train_iterator(settings, seed=0) as batches:
        batch = next(batches)
    assert "image" not in batch and batch["codes_1"].shape == (4, 4, 4) and batch["codes_0"].dtype == np.int32
    rows = [list(row.ravel()) for row in everything["codes_1"]]
    for codes_1, label in zip(batch["codes_1"], batch["label"], strict=True):
        assert everything["label"][rows.index(list(codes_1.ravel()))] == label


def test_what_does_not_fit_is_refused(codes, tmp_path):
    folder, _ = codes
    with pytest.raises(ValueError, match=r"splits \['train'\], not 'test'"):
        encoded.Records(folder, "test", SETTINGS)
    with pytest.raises(ValueError, match="holds codes of .*'image_size': 8.* asks for .*'image_size': 16"):
        encoded.Records(folder, "train", SETTINGS | {"image_size": 16})
    with pytest.raises(ValueError, match="no encoded pictures in .*nothing.*launch/encode.py"):
        encoded.Records(tmp_path / "nothing", "train", SETTINGS)
