"""Files of PyTorch: tensors as they were written, and nothing that a harmful file wants."""

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from genjax.pretrained import files
from tests.pretrained.torch_archive import Spelled, tensor, write


def test_views_of_one_storage(tmp_path):
    views = {"a": tensor((2, 3), (3, 1)), "transposed": tensor((3, 2), (1, 3)), "part": tensor((2,), (2,), offset=1)}
    found = files.read_arrays(write(tmp_path / "x.pt", views))
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["transposed"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["part"], [1, 3])


def test_the_other_order_of_bytes(tmp_path):
    values = {"0": np.arange(6, dtype=">f4")}
    found = files.read_arrays(write(tmp_path / "x.pt", {"a": tensor((6,), (1,))}, values, byteorder="big"))
    np.testing.assert_array_equal(found["a"], np.arange(6))


@pytest.mark.parametrize(
    "view",
    [
        {"shape": (7,), "strides": (1,)},
        {"shape": (2, 3), "strides": (4, 1)},
        {"shape": (6,), "strides": (1,), "offset": 1},
        {"shape": (1,), "strides": (1,), "offset": 6},
        {"shape": (1,), "strides": (1,), "offset": 2**62},
        {"shape": (1,), "strides": (1,), "offset": -1},
        {"shape": (2,), "strides": (-1,), "offset": 3},
        {"shape": (-2,), "strides": (1,)},
        {"shape": (2**40, 2**40), "strides": (0, 0)},
        {"shape": (2, 2), "strides": (2**63, 2**63)},
        {"shape": (2,), "strides": (1, 1)},
        {"shape": (0,), "strides": (1,), "offset": 7},
        {"shape": (2.0,), "strides": (1,)},
        {"shape": "ab", "strides": (1, 1)},
    ],
)
def test_a_tensor_beyond_its_storage_is_refused_by_name(tmp_path, view):
    path = write(tmp_path / "x.pt", {"good": tensor((6,), (1,)), "layer.weight": tensor(**view)})
    with pytest.raises(ValueError, match=r"x.pt: the tensor layer\.weight (reaches beyond|has offset)"):
        files.read_arrays(path)


def test_a_storage_that_is_not_as_long_as_it_says(tmp_path):
    path = write(tmp_path / "x.pt", {"w": tensor((8,), (1,), count=8)})
    with pytest.raises(ValueError, match="the tensor w needs 8 numbers of float32, and its storage has 24 bytes"):
        files.read_arrays(path)
    path = write(tmp_path / "y.pt", {"w": tensor((6,), (1,), entry="../../etc/passwd")})
    with pytest.raises(ValueError, match="y.pt is damaged: its entry .*passwd can't be read"):
        files.read_arrays(path)


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def harmful_pickles():
    """Pickles, by the trick that each plays, that would run `touch harmed` or change what reading does."""
    command = b"X\x0c\x00\x00\x00touch harmed"
    function = b"ctorch._utils\n_rebuild_tensor_v2\n"
    yield "reduce", pickle.dumps({"w": Harmful()})
    yield "protocol 4", pickle.dumps({"w": Harmful()}, protocol=4)
    yield "global", b"cos\nsystem\n(" + command + b"tR."
    yield "inst", b"(" + command + b"ios\nsystem\n."
    yield "obj", b"(cos\nsystem\n" + command + b"o."
    yield "newobj", b"\x80\x02ccollections\nOrderedDict\n)\x81."
    yield "ext", b"\x80\x02\x82\x01."
    yield "stack_global", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch harmed\x85R."
    yield "builtins", b"cbuiltins\neval\n(X\x01\x00\x00\x001tR."
    yield "attribute of a module", b"ctorch.serialization\nos.system\n(" + command + b"tR."
    yield "build on a function", function + b"(N}X\x08\x00\x00\x00__code__Nst" + b"b."
    yield "build with a dict", function + b"}X\x01\x00\x00\x00aNsb."
    yield "call of a name", b"ctorch\nload\n(" + command + b"tR."
    yield "call of a type", b"ctorch\nfloat32\n(" + command + b"tR."
    yield "memo", b"h\x05."
    yield "empty stack", b"R."
    yield "no end", b"(((("
    yield "bytes that are no pickle", b"\xff\xfe\xfd"
    yield "deep", b"]" * 100_000 + b"a" * 99_999 + b"."


@pytest.mark.parametrize(
    ("trick", "data"), list(harmful_pickles()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_nothing_but_tensors_is_unpickled(tmp_path, monkeypatch, trick, data):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("evil.pt", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(ValueError, match="^evil.pt (can't be read|holds no state dict)"):
        files.read_arrays("evil.pt")
    assert not (tmp_path / "harmed").exists()


def test_compressed_entries_are_not_unfolded(tmp_path):
    path = write(tmp_path / "bomb.pt", {"w": tensor((6,), (1,))}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="bomb.pt is not as PyTorch writes it: .* is compressed"):
        files.read_arrays(path)


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.99])
def test_an_archive_that_is_cut_short(tmp_path, cut):
    whole = write(tmp_path / "whole.pt", {"w": tensor((6,), (1,))}).read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(ValueError, match="cut.pt is cut short or damaged"):
        files.read_arrays(path)


def test_an_archive_of_which_a_byte_was_changed(tmp_path):
    path = write(tmp_path / "x.pt", {"w": tensor((6,), (1,))})
    data = bytearray(path.read_bytes())
    place = data.index(np.arange(6, dtype=np.float32).tobytes())
    data[place + 5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="x.pt is damaged: its entry archive/data/0 can't be read"):
        files.read_arrays(path)


def test_types_that_cannot_be_read_are_named(tmp_path):
    quantized = write(tmp_path / "q.pt", {"w": tensor((6,), (1,), kind="QInt8Storage")})
    with pytest.raises(ValueError, match="q.pt can't be read: it holds a torch.QInt8Storage"):
        files.read_arrays(quantized)
    eighth = Spelled(
        "torch._utils _rebuild_tensor_v3",
        "storage",
        0,
        (3,),
        (1,),
        False,
        OrderedDict(),
        Spelled("torch float8_e4m3fn"),
    )
    with pytest.raises(ValueError, match="f.pt can't be read: .*the type float8_e4m3fn.*float32"):
        files.read_arrays(write(tmp_path / "f.pt", {"w": eighth}))
