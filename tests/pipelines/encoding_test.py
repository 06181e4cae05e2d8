"""When a folder of codes is taken as it is."""

from types import SimpleNamespace

from genjax.data import encoded
from genjax.pipelines import encoding
from genjax.stages import Stage


def test_codes_are_kept_of_the_same_weights_data_and_splits_alone(tmp_path):
    data = {"name": "digits", "image_size": 8, "channels": 1}
    stage = Stage(None, None, SimpleNamespace(), None, 4, 77)
    assert not encoding._is_there(tmp_path, ("train",), data, stage, "float16")
    encoded.write_manifest(tmp_path, encoded.Manifest({}, {"train": 3, "test": 2}, data, stage.record, dtypes={}))
    assert encoding._is_there(tmp_path, ("train", "test"), data, stage, "float16")
    assert not encoding._is_there(tmp_path, ("train", "other"), data, stage, "float16")
    assert not encoding._is_there(tmp_path, ("train",), data | {"image_size": 16}, stage, "float16")
    for other in (stage._replace(step=5), stage._replace(checksum=78)):
        assert not encoding._is_there(tmp_path, ("train",), data, other, "float16")
