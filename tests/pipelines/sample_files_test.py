"""Samples as other people keep them: what can be read is read, the rest is refused in one line that names the file."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from genjax.pipelines import sample_files
from genjax.typing import DataSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


def _saved(path, *arrays, **named):
    np.savez(path, *arrays, **named)
    return path


def test_ours(tmp_path):
    drawn = sample_files.read(_saved(tmp_path / "s.npz", PIXELS, np.arange(5)))
    sample_files.check(drawn, DataSpec((8, 8, 3), 5))
    np.testing.assert_array_equal(drawn.images, PIXELS)
    np.testing.assert_array_equal(drawn.labels, np.arange(5))
    named = sample_files.read(_saved(tmp_path / "p.npz", PIXELS, prompts=np.array(list("abcde"))))
    assert named.prompts == tuple("abcde") and named.labels is None


@pytest.mark.parametrize(
    "array",
    [
        PIXELS.astype(np.int64),
        PIXELS / 255,
        (PIXELS / 127.5 - 1).astype(np.float32),
        PIXELS.astype(np.float32),
        PIXELS.transpose(0, 3, 1, 2),
        (PIXELS / 255).transpose(0, 3, 1, 2),
    ],
    ids=["integers", "0 to 1", "-1 to 1", "0 to 255", "channels first", "channels first, 0 to 1"],
)
def test_images_however_they_are_kept(tmp_path, array):
    np.save(tmp_path / "s.npy", array)
    np.testing.assert_array_equal(sample_files.read(tmp_path / "s.npy").images, PIXELS)


def test_grey_images_and_black_and_white(tmp_path):
    np.testing.assert_array_equal(sample_files.to_images(PIXELS[..., 0]), PIXELS[..., :1])
    np.testing.assert_array_equal(sample_files.to_images(PIXELS[..., :1] > 99), 255 * (PIXELS[..., :1] > 99))


def test_the_only_images_of_a_file_are_those_that_are_meant(tmp_path):
    named = sample_files.read(_saved(tmp_path / "s.npz", samples=PIXELS, scores=np.zeros(5)))
    np.testing.assert_array_equal(named.images, PIXELS)
    with pytest.raises(ValueError, match=r"no arr_0 of images, but \['a', 'b'\]"):
        sample_files.read(_saved(tmp_path / "t.npz", a=PIXELS, b=PIXELS))


def test_a_folder_of_images_in_the_order_of_names(tmp_path):
    for number, image in enumerate(PIXELS):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    np.testing.assert_array_equal(sample_files.read(tmp_path).images, PIXELS)
    with pytest.raises(ValueError, match="one image: name a folder"):
        sample_files.read(tmp_path / "0.png")
    Image.fromarray(PIXELS[0, :4]).save(tmp_path / "5.png")
    with pytest.raises(ValueError, match=r"several shapes, \(4, 8, 3\) and \(8, 8, 3\)"):
        sample_files.read(tmp_path)


@pytest.mark.parametrize("labels", [np.eye(5), np.arange(5.0), np.arange(5)[:, None], np.eye(5, dtype=bool)])
def test_labels_however_they_are_kept(tmp_path, labels):
    drawn = sample_files.read(_saved(tmp_path / "s.npz", PIXELS, labels))
    np.testing.assert_array_equal(drawn.labels, np.arange(5))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(4), "5 images and 4 labels"),
        (np.full(5, 0.5), "no whole numbers"),
        (np.full((5, 2), 0.5), "neither numbers of classes nor one-hot"),
        (np.full(5, np.nan), "no whole numbers"),
        (np.array(list("abcde")), "labels of type <U1"),
        (np.array([0, 1, 2, 3, 7]), "the label 7; the classes of the data are 0 to 4"),
        (np.array([-1, 1, 2, 3, 4]), "the label -1"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, words):
    with pytest.raises(ValueError, match=words):
        sample_files.check(sample_files.read(_saved(tmp_path / "s.npz", PIXELS, labels)), DataSpec((8, 8, 3), 5))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (PIXELS[:0], "no images in an array of shape"),
        (PIXELS[..., :2], "holds no images"),
        (PIXELS[0, 0], "holds no images"),
        (PIXELS - 1000.0, "in none of"),
        (np.where(PIXELS > 9, PIXELS, np.nan), "NaN or infinite"),
        (PIXELS.astype(complex), "no pixels"),
        (np.array([{}, {}]), "Python objects, which are never read"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, array, words):
    with pytest.raises(ValueError, match=rf"--samples=.*s.npz can't be read: .*{words}"):
        sample_files.read(_saved(tmp_path / "s.npz", array))


def _cut(share):
    file = io.BytesIO()
    np.savez_compressed(file, PIXELS)
    whole = file.getvalue()
    return whole[: int(share * len(whole))]


@pytest.mark.parametrize(
    "content", [b"", b"a text\n", _cut(0.3), _cut(0.9), b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{'de"]
)
def test_files_that_are_none(tmp_path, content):
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(ValueError, match="s.npz can't be read: ."):
        sample_files.read(tmp_path / "s.npz")


def test_nothing_there_and_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        sample_files.read(tmp_path / "s.npz")
    with pytest.raises(ValueError, match="the folder has no images"):
        sample_files.read(tmp_path)


def test_samples_of_another_size_than_the_data(tmp_path):
    with pytest.raises(ValueError, match=r"of \(8, 8, 3\) can't be compared with data of \(16, 16, 3\)"):
        sample_files.check(sample_files.read(_saved(tmp_path / "s.npz", PIXELS)), DataSpec((16, 16, 3)))


def test_labels_beyond_any_class_do_not_wrap_around(tmp_path):
    for wrong in (np.int64(2**32), np.uint64(2**63), 1e300, -1):
        labels = np.array([0, 1, wrong, 0, 1], np.uint64 if wrong == 2**63 else np.float64)
        with pytest.raises(ValueError, match=r"s.npz can't be read: it has the label .*numbered from 0"):
            sample_files.read(_saved(tmp_path / "s.npz", PIXELS, labels))


def _header(shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + bytes([118, 0]) + text.ljust(117) + b"\n"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_header("(10**9")[:60] + b"{{", "cut or damaged"),
        (_header((10**12, 8, 8, 3)) + b"abc", "more than fits the memory"),
        (b"\x93NUMPY\x09\x00", "cut or damaged"),
    ],
    ids=["no header", "a header of terabytes", "another version"],
)
def test_damaged_arrays_are_named(tmp_path, content, words, compressed):
    path = tmp_path / "s.npy"
    path.write_bytes(content)
    if compressed:
        path = tmp_path / "s.npz"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("arr_0.npy", content)
    with pytest.raises(ValueError, match=rf"--samples=.*{path.name} can't be read: .*{words}"):
        sample_files.read(path)


@pytest.mark.parametrize(("flag", "method"), [(1, 0), (0, 99)], ids=["encrypted", "packed in an unknown way"])
def test_archives_that_cannot_be_unpacked_are_named(tmp_path, flag, method):
    content = bytearray(_saved(tmp_path / "s.npz", PIXELS).read_bytes())
    entry = content.index(b"PK\1\2")
    content[6], content[entry + 8], content[8], content[entry + 10] = flag, flag, method, method
    (tmp_path / "s.npz").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"s.npz can't be read: it is cut or damaged: .*(encrypted|not supported)"):
        sample_files.read(tmp_path / "s.npz")
