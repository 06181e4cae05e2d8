"""Prompts as people write them: in every encoding, too long, in words that nobody knows."""

from types import SimpleNamespace

import numpy as np
import pytest

from genjax.data import tokenizers
from genjax.families.interfaces import ImageSampler
from genjax.pipelines import prompts
from genjax.stages import Stage

CAPTIONS = ["a red circle on the left", "a blue square on the right"]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.make({"name": "bpe", "length": 8, "vocab_size": 300}, lambda: CAPTIONS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_in_any_encoding_that_it_names(tmp_path, encoding):
    (tmp_path / "prompts.txt").write_bytes("ein roter Käfig\r\n\r\n  赤い猫 🐈 \nlast\u2028line".encode(encoding))
    assert prompts.read_file(tmp_path / "prompts.txt") == ["ein roter Käfig", "赤い猫 🐈", "last\u2028line"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("Käfig".encode("latin-1"), "prompts.txt is not UTF-8 .line 1.: save it as UTF-8"),
        ("a cat".encode("utf-16-le"), "prompts.txt holds the control character"),
        (b"\x89PNG\r\n\x1a\n\0\0", "prompts.txt is not UTF-8"),
        (b"", "has no prompts"),
        (b'["a cat",\n "a dog"]', "prompts.txt is JSON: write one prompt a line"),
        (b'{"text": "a cat"}\n{"text": "a dog"}\n', "prompts.txt is JSON: write one prompt a line"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "prompts.txt is a git-lfs pointer"),
        (b"\xef\xbb\xbf \n\t\n", "has no prompts"),
    ],
)
def test_files_that_are_refused_in_one_line(tmp_path, contents, message):
    (tmp_path / "prompts.txt").write_bytes(contents)
    with pytest.raises(ValueError, match=message) as error:
        prompts.read_file(tmp_path / "prompts.txt")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="can't read prompts from .*: Is a directory"):
        prompts.read_file(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("a red \udce9", "has bytes that are no UTF-8"), ("a\0red", r"holds the control character '\\x00'")],
)
def test_prompts_that_are_refused_in_one_line(prompt, message):
    stage = Stage(SimpleNamespace(interface=ImageSampler(None, (8, 8, 3), 0, text_length=8)), None, None, None, 0)
    assert prompts.for_images(stage, 3, ["a red circle", "猫"]) == ("a red circle", "猫", "a red circle")
    with pytest.raises(ValueError, match=message) as error:
        prompts.for_images(stage, 3, ["a red circle", prompt])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t\u3000"])
def test_a_prompt_without_words_is_told_of_and_is_the_null_text(tokenizer, prompt, caplog):
    assert not prompts.tokens(tokenizer, [prompt]).any()
    assert "the empty prompt requests nothing" in caplog.text


@pytest.mark.parametrize("prompt", ["word%d " * 3000 % tuple(range(3000)), "x" * 100_000, "猫" * 5000, "🐈" * 5000])
def test_what_is_said_of_a_prompt_stays_short(tokenizer, prompt, caplog):
    row = prompts.tokens(tokenizer, [prompt])[0]
    assert row.all() and len(row) == 8
    lost, unknown = (record.getMessage() for record in caplog.records)
    assert "is too long for 8 tokens and loses" in lost and len(lost) < 300
    assert "has words that no training caption has" in unknown and len(unknown) < 600


def test_what_is_new_is_told_of_and_what_is_not_is_not(tokenizer, caplog):
    prompts.tokens(tokenizer, ["red square"] * 3 + ["red 🐈", "red square"])
    assert [record.getMessage() for record in caplog.records] == [
        "the prompt 'red 🐈' has words that no training caption has: 🐈"
    ]
    assert np.count_nonzero(prompts.tokens(tokenizer, ["red 🐈"])) > 4
