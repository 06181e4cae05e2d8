"""What is in a file in place of what its name says is recognised once, in the same words, for all readers."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from genjax.core import files
from genjax.data import texts, tokenizers, transforms
from genjax.pipelines import sample_files
from genjax.pretrained import files as weights

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"
INSTEAD = [
    (b"", "an empty file"),
    (b" \r\n\n", "an empty file"),
    (b"\0" * 5000, "a file of zeros"),
    (POINTER, "a git-lfs pointer, .*: run `git lfs pull` beside it"),
    (POINTER.replace(b"\n", b"\r\n"), "a git-lfs pointer"),
    (b"version https://hawser.github.com/spec/v1\noid sha256:1\n", "a git-lfs pointer"),
    (b"/annex/objects/SHA256E-s5--1.png\n", "a git-annex pointer, .*: run `git annex get`"),
    (b"../.git/annex/objects/f8/4x/SHA256E-s5--1.png/SHA256E-s5--1.png", "a git-annex pointer"),
    (b"<!DOCTYPE html><html>404</html>", "a web page"),
    (b"\xef\xbb\xbf\n  <HTML lang='en'>", "a web page"),
    (b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0'>", "a web page"),
    (b"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>AccessDenied</Code></Error>", "a server's error message"),
    (b"Entry not found", "a server's error message"),
    (b"404: Not Found\n", "a server's error message"),
    (b"Invalid username or password.", "a server's error message"),
    (b"Access to model black/flux is restricted. You must be authenticated", "a server's error message"),
]
NOT_INSTEAD = [
    b"a cat on a mat", b"version 2 of a cat", b"Entry not found in the old house", b"<b>bold</b>", b"\x89PNG\r\n\x1a\n",
    b"\0\0\0\x18ftypheic" + bytes(40), b"{}", b"PK\x03\x04", b"<header> of a page", b"<?xml version='1.0'?><svg/>",
    b"a link to /annex/objects/ there",
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), INSTEAD)
def test_what_is_there_instead(content, words):
    assert re.match(words, files.instead(content[: files.HEAD]))


@pytest.mark.parametrize("content", NOT_INSTEAD)
def test_what_is_nothing_else(content):
    assert not files.instead(content)


def _read_vocabulary(path):
    tokenizers.make({"name": "wordpiece", "length": 8, "file": str(path)})


READERS = {
    "image.png": transforms.decode,
    "caption.txt": lambda path: texts.read_text(str(path)),
    "tokenizer.json": _read_vocabulary,
    "model.safetensors": weights.read_arrays,
    "model.pt": weights.read_arrays,
    "samples.npz": sample_files.read,
    "config.json": files.read_json,
}


@pytest.mark.parametrize(("content", "words"), INSTEAD)
@pytest.mark.parametrize("name", READERS)
def test_every_reader_says_the_same(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    if name == "caption.txt" and not content.strip():
        assert not READERS[name](path).strip(), "an empty text is one"
        return
    with pytest.raises((ValueError, OSError), match=f"{path}.* is {words}") as error:
        READERS[name](path)
    assert "\n" not in str(error.value)


def test_what_is_right_is_read(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "image.png")
    (tmp_path / "caption.txt").write_text("a web page: <html> & a pointer")
    (tmp_path / "config.json").write_text(json.dumps({"family": "x"}))
    for name in ("image.png", "caption.txt", "config.json"):
        READERS[name](tmp_path / name)


def test_an_index_of_parts_may_be_a_pointer_too(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_bytes(POINTER)
    with pytest.raises(ValueError, match="index.json is a git-lfs pointer"):
        weights.read_arrays(tmp_path)
