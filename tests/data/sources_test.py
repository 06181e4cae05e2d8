"""Datasets by name: any prepared one is read, any missing one is one clear line at once, without network."""

import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from genjax.data import sources
from genjax.data.broken import BrokenImage

F = tfds.features
ROOT = pathlib.Path(__file__).parents[2]


def encode(array: np.ndarray, mode: str | None = None, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, format=format)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def prepare(name: str, data_dir, features: dict, splits: dict, version: str = "1.0.0", supervised=None) -> str:
    """Prepare a dataset as somebody else's code would have done it: its builder is gone afterwards."""
    dataset, _, config = name.partition("/")
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(version)
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self,
                    description="A fixture.",
                    features=F.FeaturesDict(features),
                    supervised_keys=supervised,
                    disable_shuffling=True,
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(examples) for split, examples in splits.items()}

            def _generate_examples(self, examples):
                yield from enumerate(examples)

    Builder.name = dataset
    builder = Builder(data_dir=str(data_dir), config=config or None, file_format="array_record")
    tfds.display_progress_bar(False)
    builder.download_and_prepare()
    return str(builder.data_path)


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("GENJAX_DOWNLOAD", raising=False)


def test_labelled_grey(tmp_path):
    images = noise(6, 28, 28)
    examples = [{"image": encode(image), "label": index % 3} for index, image in enumerate(images)]
    features = {"image": F.Image(shape=(28, 28, 1)), "label": F.ClassLabel(names=["a", "b", "c"])}
    prepare("mnist", tmp_path, features, {"train": examples, "test": examples[:2]}, "3.0.1")
    records, spec, _ = sources.open_source("mnist", "train", str(tmp_path))
    assert spec.image_shape == (28, 28, 1)
    assert (spec.num_classes, spec.class_names, spec.num_examples) == (3, ("a", "b", "c"), 6)
    assert len(records) == 6 and records[4]["label"] == 1 and type(records[4]["label"]) is int
    np.testing.assert_array_equal(records[4]["image"], images[4][..., None])
    assert len(sources.open_source("mnist", "train[:50%]", str(tmp_path)).records) == 3
    assert len(sources.open_source("mnist", "train+test", str(tmp_path)).records) == 8
    assert len(sources.open_source("mnist:3.0.1", "test", str(tmp_path)).records) == 2
    with pytest.raises(ValueError, match=r"has the splits \['test', 'train'\], not 'validation'"):
        sources.open_source("mnist", "validation", str(tmp_path))


def test_several_captions_and_sizes(tmp_path):
    captions = [{"text": "ein Löwe", "id": 1}, {"text": "a lion", "id": 2}]
    examples = [
        {"image": encode(noise(9, 7, 3), format="JPEG"), "image/filename": "x.jpg", "captions": captions},
        {"image": encode(noise(8, 8), format="JPEG"), "image/filename": "y.jpg", "captions": captions[:1]},
    ]
    features = {
        "image": F.Image(encoding_format="jpeg"),
        "image/filename": F.Text(),
        "captions": F.Sequence({"text": np.str_, "id": np.int64}),
    }
    prepare("coco_captions/2014", tmp_path, features, {"train": examples}, "1.1.0")
    for name in ("coco_captions", "coco_captions/2014", "coco_captions/2014:1.1.0"):
        records, spec, _ = sources.open_source(name, "train", str(tmp_path))
        assert spec.has_text and spec.num_classes == 0 and spec.image_shape == (0, 0, 0)
        assert records[0]["text"] == ("ein Löwe", "a lion") and records[1]["text"] == ("ein Löwe",)
        assert records[0]["image"].shape == (9, 7, 3) and records[1]["image"].shape == (8, 8, 1)
        assert records.captions([1, 0]) == [("ein Löwe",), ("ein Löwe", "a lion")]


@pytest.mark.parametrize("key", ["text", "caption"])
def test_single_caption(tmp_path, key):
    prepare(
        "pairs",
        tmp_path,
        {"image": F.Image(), key: F.Text()},
        {"train": [{"image": encode(noise(4, 4, 3)), key: "é"}]},
    )
    records, spec, _ = sources.open_source("pairs", "train", str(tmp_path))
    assert spec.has_text and records[0]["text"] == "é"


def test_channels_are_normalised(tmp_path):
    clear = np.zeros((4, 4, 4), np.uint8)
    red = np.full((16, 16, 3), (250, 10, 10), np.uint8)
    images = [encode(clear), encode(red, "CMYK", "JPEG"), encode(red[..., 0])]
    prepare("odd", tmp_path, {"image": F.Image()}, {"train": [{"image": image} for image in images]})
    records = sources.open_source("odd", "train", str(tmp_path)).records
    np.testing.assert_array_equal(records[0]["image"], np.full((4, 4, 3), 255))
    np.testing.assert_allclose(records[1]["image"][8, 8], (250, 10, 10), atol=8)
    assert records[2]["image"].shape == (16, 16, 1)


def test_fields_by_other_names(tmp_path):
    features = {
        "photo": F.Image(),
        "species": F.ClassLabel(num_classes=4),
        "place": F.ClassLabel(num_classes=2),
    }
    example = {"photo": encode(noise(4, 4, 3)), "species": 3, "place": 1}
    prepare("zoo", tmp_path, features, {"train": [example]}, supervised=("photo", "species"))
    records, spec, _ = sources.open_source("zoo", "train", str(tmp_path))
    assert spec.num_classes == 4 and records[0]["label"] == 3 and records[0]["place"] == 1
    prepare("farm", tmp_path, features, {"train": [example]})
    assert sources.open_source("farm", "train", str(tmp_path)).spec.num_classes == 0


def test_two_images_and_no_image_are_mistakes(tmp_path):
    image = encode(noise(4, 4, 3))
    prepare("stereo", tmp_path, {"l": F.Image(), "r": F.Image()}, {"train": [{"l": image, "r": image}]})
    prepare("books", tmp_path, {"text": F.Text()}, {"train": [{"text": "a"}]})
    for name in ("stereo", "books"):
        with pytest.raises(ValueError, match="no single image"):
            sources.open_source(name, "train", str(tmp_path))


def test_newest_version_and_configurations(tmp_path):
    for version, count in (("1.9.0", 1), ("1.10.0", 2)):
        prepare("v", tmp_path, {"image": F.Image()}, {"train": [{"image": encode(noise(4, 4))}] * count}, version)
    assert len(sources.open_source("v", "train", str(tmp_path)).records) == 2
    assert len(sources.open_source("v:1.9.0", "train", str(tmp_path)).records) == 1
    for config in ("8x8", "64x64"):
        prepare(
            f"imagenet_resized/{config}",
            tmp_path,
            {"image": F.Image()},
            {"train": [{"image": encode(noise(4, 4))}]},
        )
    assert len(sources.open_source("imagenet_resized/64x64", "train", str(tmp_path)).records) == 1
    with pytest.raises(ValueError, match="'imagenet_resized/64x64', 'imagenet_resized/8x8'"):
        sources.open_source("imagenet_resized", "train", str(tmp_path))


def test_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert sources.data_folder() == str(tmp_path / "tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "shared"))
    assert sources.data_folder() == str(tmp_path / "shared")
    assert sources.data_folder("~/mine") == str(tmp_path / "mine")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where neither HOME nor passwd has a home
    with pytest.raises(ValueError, match="TFDS_DATA_DIR to another folder: there is no home"):
        sources.data_folder("~/mine")
    assert sources.data_folder() == str(tmp_path / "shared")
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://bucket/data")
    with pytest.raises(ValueError, match="another folder: gs:// isn't supported"):
        sources.data_folder()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "shared"))
    sources.open_source("digits", "test")
    assert (tmp_path / "shared/digits/1.0.0/dataset_info.json").exists()


@pytest.mark.parametrize(
    "name", ["mnist", "cifar10", "imagenet_resized/64x64", "coco_captions", "lsun/bedroom", "celeb_a"]
)
def test_missing_data_is_one_clear_line_at_once(name, tmp_path, no_network, capfd):
    start = time.perf_counter()
    for kind in (FileNotFoundError, ValueError, sources.DatasetNotFound):
        with pytest.raises(kind) as error:
            sources.open_source(name, "train", str(tmp_path))
    assert time.perf_counter() - start < 10
    message = str(error.value)
    assert f"'{name}'" in message and str(tmp_path) in message and "\n" not in message
    for way_out in ("data_dir", "TFDS_DATA_DIR", "GENJAX_DOWNLOAD=1", "array_record"):
        assert way_out in message
    assert capfd.readouterr() == ("", "")


def test_misspelt_names_are_told_from_missing_data(tmp_path, no_network):
    with pytest.raises(sources.DatasetNotFound, match="knows no such name; is it 'mnist'"):
        sources.open_source("mnits", "train", str(tmp_path))
    with pytest.raises(sources.DatasetNotFound, match="is it 'digits'"):
        sources.open_source("digit", "train", str(tmp_path))
    for name in ("", "my images", "/home/me/images", "mnist:latest"):
        with pytest.raises(ValueError, match="'folder:/path'"):
            sources.open_source(name, "train", str(tmp_path))


def test_download_is_tried_only_when_requested(tmp_path, monkeypatch):
    requested = []

    class Builder:
        def download_and_prepare(self):
            raise ConnectionError("no route to host\nsecond line")

    def builder(name, **options):
        requested.append((name, options))
        return Builder()

    monkeypatch.setattr(tfds, "builder", builder)
    for ask in ({"download": True}, {}):
        monkeypatch.setenv("GENJAX_DOWNLOAD", "0" if ask else "1")
        with pytest.raises(sources.DatasetNotFound, match="ConnectionError: no route to host; preparing"):
            sources.open_source("mnist", "train", str(tmp_path), **ask)
    assert requested == [("mnist", {"data_dir": str(tmp_path), "file_format": "array_record"})] * 2


def test_a_format_that_needs_tensorflow_is_named(tmp_path):
    folder = pathlib.Path(prepare("old", tmp_path, {"image": F.Image()}, {"train": [{"image": encode(noise(4, 4))}]}))
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="stored as tfrecord, .* file_format='array_record'"):
        sources.open_source("old", "train", str(tmp_path))


def test_fakes_of_tfds_work(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        records, spec, _ = sources.open_source("mnist", "train", str(tmp_path))
        assert spec.image_shape == (28, 28, 1) and spec.num_classes == 10
        assert records[0]["image"].shape == (28, 28, 1) and 0 <= records[0]["label"] < 10


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(sources.DatasetNotFound, match="can't be built in .* a folder that can be written to"):
        sources.open_source("digits", "train", str(tmp_path / "file"))


def test_a_half_written_folder_is_named(tmp_path):
    (tmp_path / "digits/1.0.0").mkdir(parents=True)
    with pytest.raises(sources.DatasetNotFound, match="delete this folder|can't be built"):
        sources.open_source("digits", "train", str(tmp_path))


def test_the_version_of_an_embedded_dataset(data_dir):
    assert sources.open_source("digits:1.0.0", "test", data_dir).spec.num_examples == 445
    with pytest.raises(ValueError, match="has version 1.0.0, not 9.9.9"):
        sources.open_source("digits:9.9.9", "test", data_dir)


def run_python(code: str, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_processes_that_build_at_the_same_time(tmp_path):
    code = (
        "import sys; from genjax.data import sources; "
        "print(len(sources.open_source('digits', 'train', sys.argv[1]).records)); "
        "print('tensorflow' in sys.modules, 'sklearn' in sys.modules)"
    )
    runs = [run_python(code, str(tmp_path)) for _ in range(2)]
    for run in runs:
        output = run.communicate(timeout=60)[0].split()
        assert run.returncode == 0 and output[:2] == ["1352", "False"], output
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_importing_the_loader_is_light():
    code = (
        "import sys, genjax.data.loader; "
        "print([m for m in ('tensorflow', 'tensorflow_datasets', 'sklearn', 'flax') if m in sys.modules])"
    )
    assert run_python(code).communicate(timeout=60)[0].strip() == "[]"


def test_names_are_suggested_once_and_in_any_case(tmp_path):
    for name in ("digit", "DIGITS", "Digits"):
        with pytest.raises(sources.DatasetNotFound, match=r"is it 'digits'(\?| or '(?!digits))"):
            sources.open_source(name, "train", str(tmp_path))
    with pytest.raises(ValueError, match="comes in one size: write 'digits'"):
        sources.open_source("digits/8", "train", str(tmp_path))


@pytest.mark.parametrize("split", ["train[", "train[:200%]", "train[a:b]", "train[:0]", "train[5:2]", "train[9999:]"])
def test_slices_that_hold_nothing_or_are_none_are_told_in_one_line(data_dir, split):
    with pytest.raises(
        ValueError, match=r"dataset 'digits': the split 'train\[.*can't be read .*'train\[:90%\]'"
    ) as told:
        sources.open_source("digits", split, data_dir)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("damage", ["cut records", "no records", "no features", "cut info", "other info"])
def test_prepared_data_that_is_damaged_is_named(data_dir, tmp_path, damage):
    sources.open_source("digits", "train", data_dir)
    shutil.copytree(os.path.join(data_dir, "digits"), tmp_path / "digits")
    what, _, which = damage.partition(" ")
    pattern = {"records": "*.array_record*", "features": "features.json", "info": "dataset_info.json"}[which]
    for path in (tmp_path / "digits").rglob(pattern):
        path.unlink() if what == "no" else path.write_bytes(path.read_bytes()[:100] if what == "cut" else b"{}")
    with pytest.raises(
        sources.DatasetNotFound, match=r"'digits' lies damaged or half written in .*: delete this"
    ) as told:
        sources.open_source("digits", "train", str(tmp_path))
    assert "\n" not in str(told.value)


def test_a_broken_example_is_named_with_its_dataset(tmp_path):
    """Its image, or its class: TFDS writes -1 where it isn't known."""
    whole = encode(noise(4, 4, 3))
    features = {"image": F.Image(shape=(4, 4, 3)), "label": F.ClassLabel(names=["cat", "dog"])}
    examples = [{"image": whole, "label": "cat"}, {"image": whole, "label": -1}, {"image": b"no image", "label": 0}]
    prepare("pets", tmp_path, features, {"train": examples})
    records = sources.open_source("pets", "train[0%:]", str(tmp_path)).records
    assert records[0]["label"] == 0
    with pytest.raises(BrokenImage, match=r"^example 1 of dataset pets \(train\[0%:\]\) has the label -1: its classes"):
        records[1]
    with pytest.raises(BrokenImage, match=r"^example 2 of dataset pets \(train\[0%:\]\) is no image that Pillow"):
        records[2]


def test_an_example_that_cannot_be_read_is_named_with_its_dataset():
    class Damaged(list):
        def __getitem__(self, index):
            raise RuntimeError("crc32c mismatch")

    records = sources._TfdsRecords(Damaged([0]), "image", "", "", title="dataset pets (train)")
    with pytest.raises(BrokenImage, match=r"^example 3 of dataset pets \(train\): crc32c mismatch"):
        records[3]
