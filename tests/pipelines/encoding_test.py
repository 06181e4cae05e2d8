"""When a folder of codes is taken as it is."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from genjax import sharding
from genjax.data import encoded, loader
from genjax.pipelines import encoding
from genjax.stages import Stage


def test_codes_are_kept_of_the_same_weights_data_and_splits_alone(tmp_path):
    data = {"name": "digits", "image_size": 8, "channels": 1}
    stage = Stage(None, None, SimpleNamespace(), None, 4, 77)
    assert not encoding._is_there(tmp_path, ("train",), data, stage)
    encoded.write_manifest(tmp_path, encoded.Manifest({}, {"train": 3, "test": 2}, data, stage.record, dtypes={}))
    assert encoding._is_there(tmp_path, ("train", "test"), data, stage)
    assert not encoding._is_there(tmp_path, ("train", "other"), data, stage)
    assert not encoding._is_there(tmp_path, ("train",), data | {"image_size": 16}, stage)
    for other in (stage._replace(step=5), stage._replace(checksum=78)):
        assert not encoding._is_there(tmp_path, ("train",), data, other)


@pytest.mark.parametrize(("field", "several"), [("codes_0", True), ("text_embed", False)])
def test_captions_are_those_of_the_encoded_images(field, several):
    """Of the split that is encoded, in its order, without what fills up the last batch; beside texts the one read."""
    texts = [(f"{number}", "another") for number in range(6)]
    batches = [
        {"image": rows.astype(np.float32), "label": rows.astype(np.int32), "mask": (rows < 6).astype(np.float32)}
        for rows in (np.arange(4), np.arange(4, 8))
    ]
    captions = {"test": texts, "train": [("of another split",)] * 6}
    data = loader.Data({"name": "any", "image_size": 1})
    data.spec, data.captions = SimpleNamespace(has_text=True), captions.get
    data.eval_batches = lambda split, *_: iter(batches)
    stage, mesh = Stage(None, None, SimpleNamespace(), None, 4), sharding.make_mesh(devices=jax.devices()[:4])

    def run(weights, batch):
        return {field: 10 * batch["image"]}

    found = list(encoding._encoded(run, stage, data, "test", 4, mesh))
    assert [one for fields in found for one in fields["text"]] == (texts if several else [one[:1] for one in texts])
    for name, values in ((field, 10.0 * np.arange(6)), ("label", np.arange(6))):
        np.testing.assert_array_equal(np.concatenate([fields[name] for fields in found]), values)
