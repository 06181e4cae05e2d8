"""Texts to tokens and back: trained vocabularies, published ones, dropout, what is lost and what is unknown."""

import json
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from genjax.data import byte_pairs, tokenizers, vocabularies, words
from genjax.data.builders import scenes

CAPTIONS = [scenes.make_scene("train", index).caption for index in range(2000)]
BPE = {"name": "bpe", "length": 16, "vocab_size": 512}
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def bpe():
    return tokenizers.make(BPE, lambda: CAPTIONS)


@pytest.fixture(scope="module")
def gpt2_files(bpe, tmp_path_factory):
    """A small vocabulary in GPT-2's two files, its special token last."""
    folder = tmp_path_factory.mktemp("gpt2")
    model = json.loads(bpe._vocabulary.contents())["model"]
    tokens = [token for token in model["vocab"] if token not in ("[pad]", "[start]", "[end]")] + ["<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_a_trained_vocabulary_knows_its_captions(bpe):
    tokens = bpe.encode(CAPTIONS[0])
    assert tokens.dtype == np.int32 and tokens.shape == (16,) and bpe.vocab_size < 512
    count = np.count_nonzero(tokens)
    assert tokens[0] == 1 and tokens[count - 1] == 2 and (tokens[count:] == 0).all()
    assert count == len(CAPTIONS[0].split()) + 2, "a token a word"
    for caption in CAPTIONS[:200]:
        assert bpe.decode(bpe.encode(caption)) == caption
        assert not bpe.lost(caption) and not bpe.unknown(caption)


def test_any_text_comes_back_clean(bpe):
    assert bpe.decode(bpe.encode("  A  RED\n circle ")) == "a red circle"
    long = tokenizers.TextTokenizer(bpe._vocabulary, 100)
    assert long.decode(long.encode("[end] ünïcode 🎨 [pad]")) == "[end] ünïcode 🎨 [pad]"


def test_the_empty_text_is_all_padding(bpe):
    for text in ("", "  \n"):
        assert not bpe.encode(text).any()
    assert bpe.decode(bpe.encode("")) == ""


def test_words_that_do_not_fit_are_named_and_cut(bpe):
    short = tokenizers.TextTokenizer(bpe._vocabulary, 6)
    text = "a small red circle on the left"
    assert short.lost(text) == ("on", "the", "left")
    tokens = short.encode(text)
    assert tokens[-1] == 2 and short.decode(tokens) == "a small red circle"
    assert short.lost("a small red circle") == ()
    assert short.lost("xylophonecollector of words") == ("xylophonecollector", "of", "words"), "cut within the word"


def test_unknown_words_are_named(bpe):
    assert bpe.unknown("A PINK elephant, in the Middle of a pink elephant!") == ("elephant",)


def tokens_fit(tokenizer, text):
    return np.count_nonzero(tokenizers.TextTokenizer(tokenizer._vocabulary, 10**6).encode(text)) <= tokenizer.length


@pytest.mark.parametrize("text", [CAPTIONS[0], "a  xylophone\n and two   elephants, or", "红色的猫在左边", "红 cat 猫"])
def test_what_is_lost_begins_where_the_tokens_end(bpe, text):
    """At every length: all before it fits, and no more of it does."""
    for length in range(3, 30):
        short = tokenizers.TextTokenizer(bpe._vocabulary, length)
        pieces = words.pieces_of(text)
        kept = len(pieces) - len(short.lost(text))
        assert tuple(piece for piece, _ in pieces[kept:]) == short.lost(text)
        assert kept == 0 or tokens_fit(short, text[: pieces[kept - 1][1]])
        assert kept == len(pieces) or not tokens_fit(short, text[: pieces[kept][1]])


@pytest.mark.parametrize(
    "text",
    [" ".join(CAPTIONS)[:20_000], "a" * 100_000, "猫在左边" * 5000, "elephant " * 3000],
    ids=["captions", "letters", "Chinese", "words"],
)
def test_a_very_long_caption_costs_little_and_is_told_of_in_short(bpe, text, caplog):
    """3,000 words, a word of 100,000 letters; also while training, with dropout."""
    dropping = tokenizers.TextTokenizer(bpe._vocabulary, 16, 0.1, bpe._words)
    start = time.process_time()
    assert bpe.lost(text) and len(bpe.unknown(text)) < 30
    row = dropping.encode(text, RNG(0))
    assert row[-1] == 2 and row.all(), "start, 14 tokens, end"
    tokenizers.make(BPE | {"vocab_size": 300}, lambda: [*CAPTIONS[:10], text])
    assert time.process_time() - start < 3
    (record,) = caplog.records
    assert len(record.getMessage()) < 350 and "tokenizer.length=16 tokens" in record.getMessage()


def test_scripts_without_spaces_are_compared_by_characters():
    captions = ["红色的猫在左边", "蓝色的狗在右边", "a red cat"]
    tokenizer = tokenizers.make(BPE, lambda: captions)
    assert tokenizer.unknown("左边的狗在猫右边，红色。") == ()
    assert tokenizer.unknown("红色的鸟 and a cat") == ("鸟", "and")
    old = tokenizers.TextTokenizer(tokenizer._vocabulary, 16, 0.0, frozenset(["红色的猫在左边", "蓝色的狗在右边"]))
    assert old.unknown("左边的狗") == (), "words that an older version kept, whole sentences"


def test_texts_that_are_no_utf_8_are_refused_by_name(bpe):
    for refused in (
        lambda: bpe.encode("a \udcff cat"),
        lambda: bpe.lost("a \udcff cat"),
        lambda: tokenizers.make(BPE, lambda: ["a cat", "a \udcff cat"]),
    ):
        with pytest.raises(ValueError, match=r"the text 'a \\udcff cat' has bytes that are no UTF-8"):
            refused()


def test_training_is_the_same_everywhere(bpe):
    code = "from tests.data.tokenizers_test import *; print(tokenizers.make(BPE, lambda: CAPTIONS).checksum)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert output.stdout.strip() == str(bpe.checksum), output.stderr


def test_dropout_at_its_ends_and_in_between(bpe):
    def dropped(share):
        return tokenizers.TextTokenizer(bpe._vocabulary, 128, share)

    for caption in CAPTIONS[:100]:
        whole = dropped(0.0).encode(caption)
        np.testing.assert_array_equal(bpe._vocabulary.encode_dropped(caption, 0.0, RNG(0)), whole[1:][whole[1:] > 2])
        np.testing.assert_array_equal(dropped(0.3).encode(caption), whole), "nothing is dropped without a generator"
        single = dropped(1.0).encode(caption, RNG(0))
        assert np.count_nonzero(single) == len(caption.encode()) + 1 + 2, "bytes, with a space before the first word"
        one, other = (dropped(0.1).encode(caption, RNG(seed)) for seed in (0, 0))
        np.testing.assert_array_equal(one, other)
        assert dropped(0.1).decode(one) == caption
    lengths = [np.count_nonzero(dropped(share).encode(CAPTIONS[1], RNG(1))) for share in (0.0, 0.3, 0.9)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2]


def test_dropout_leaves_out_the_share_of_merges_that_it_says():
    """The word "ab" has one merge, which is left out with the probability p."""
    rng, ranks = RNG(0), {("a", "b"): 0}
    cut = sum(len(byte_pairs.merge(["a", "b"], ranks, 0.1, rng)) == 2 for _ in range(20_000))
    assert 0.1 * 20_000 == pytest.approx(cut, abs=4 * np.sqrt(20_000 * 0.09))


def test_every_merge_is_drawn_anew():
    """Of "abc" both merges are done with (1 - p)^2 (BPE-dropout, algorithm 1); one draw a word would give 1 - p."""
    rng, ranks = RNG(0), {("a", "b"): 0, ("ab", "c"): 1}
    whole = sum(byte_pairs.merge([*"abc"], ranks, 0.5, rng) == ["abc"] for _ in range(4000))
    assert whole == pytest.approx(1000, abs=4 * np.sqrt(4000 * 0.25 * 0.75))


def test_of_equal_merges_the_first_is_done_first():
    ranks = {("a", "a"): 0, ("b", "a"): 1}
    assert byte_pairs.merge([*"aaa"], ranks, 0.0, RNG(0)) == ["aa", "a"]
    assert byte_pairs.merge([*"baaa"], ranks, 0.0, RNG(0)) == ["b", "aa", "a"], "the least rank, not the first pair"


def test_captions_are_normalized_before_they_are_cut(bpe):
    """Composed and decomposed accents, capitals and white space make no other tokens."""
    plain = bpe._vocabulary.encode("a caf\u00e9 in red")
    assert bpe._vocabulary.encode(" A  Cafe\u0301\nin RED ") == plain


@pytest.mark.parametrize("unescape", [True, False])
def test_entities_are_read_alike_with_dropout_and_without(bpe, unescape):
    """OpenAI's CLIP reads HTML's entities, twice."""
    text = bpe._vocabulary.contents().decode()
    vocabulary = vocabularies.LibraryVocabulary(text, vocabularies.START, vocabularies.END, unescape=unescape)
    escaped, clean = "red &amp;lt; blue &quot;", 'red < blue "'
    assert (vocabulary.encode(escaped) == vocabulary.encode(clean)) == unescape
    assert vocabulary.encode_dropped(escaped, 0.0, RNG(0)) == vocabulary.encode(escaped)


def test_what_is_saved_reads_the_same(bpe, tmp_path):
    bpe.save(tmp_path)
    again = tokenizers.make(BPE | {"file": str(tmp_path)})
    assert again.checksum == bpe.checksum and again.vocab_size == bpe.vocab_size
    np.testing.assert_array_equal(again.encode(CAPTIONS[3]), bpe.encode(CAPTIONS[3]))
    assert again.unknown("a red elephant") == ("elephant",)
    copy = pickle.loads(pickle.dumps(bpe))
    assert copy.checksum == bpe.checksum
    np.testing.assert_array_equal(copy.encode("[end] a circle"), bpe.encode("[end] a circle"))
    other = tokenizers.make(BPE | {"length": 12}, lambda: CAPTIONS)
    assert other.checksum != bpe.checksum != tokenizers.make(BPE, lambda: CAPTIONS[:5]).checksum


def test_captions_that_are_too_long_are_told_of_once(caplog):
    tokenizers.make(BPE | {"length": 8}, lambda: CAPTIONS)
    assert len(caplog.records) == 1 and "cut to tokenizer.length=8" in caplog.text


def test_gpt2_pads_with_its_special_token(gpt2_files, tmp_path):
    gpt2 = tokenizers.make({"name": "gpt2", "length": 20, "file": str(gpt2_files / "vocab.json")})
    numbers = json.loads((gpt2_files / "vocab.json").read_text())
    assert gpt2.vocab_size == len(numbers)
    tokens = gpt2.encode("a red circle!")
    assert tokens[0] == numbers["a"] and numbers["!"] == 0
    assert tokens[np.count_nonzero(tokens) - 1] == len(numbers) - 1, "'!' and the padding have changed places"
    assert gpt2.decode(tokens) == "a red circle!" and gpt2.unknown("elephant") == ()
    gpt2.save(tmp_path)
    assert tokenizers.make({"name": "gpt2", "length": 20, "file": str(tmp_path)}).checksum == gpt2.checksum


def test_wordpiece_and_t5_of_their_files(tmp_path):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    library.train_from_iterator(CAPTIONS, trainer)
    library.enable_padding(length=128)
    library.save(str(tmp_path / "bert.json"))
    wordpiece = tokenizers.make({"name": "wordpiece", "length": 16, "file": str(tmp_path / "bert.json")})
    tokens = wordpiece.encode("A red circle")
    assert tokens[0] == 2 and tokens[np.count_nonzero(tokens) - 1] == 3 and wordpiece.decode(tokens) == "a red circle"
    assert wordpiece.unknown("a red 字") == ("字",)
    with pytest.raises(ValueError, match="dropout=0.1 is of byte pairs, and this vocabulary has none"):
        tokenizers.make({"name": "wordpiece", "length": 16, "file": str(tmp_path / "bert.json"), "dropout": 0.1})

    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS[:500]), model_prefix=str(tmp_path / "spiece"), vocab_size=60, pad_id=0,
        eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    t5 = tokenizers.make({"name": "t5", "length": 24, "file": str(tmp_path / "spiece.model")})
    tokens = t5.encode("a red circle")
    assert tokens[np.count_nonzero(tokens) - 1] == 1 and t5.decode(tokens) == "a red circle"
    assert t5.unknown("a red circle ü") == ("ü",) and pickle.loads(pickle.dumps(t5)).checksum == t5.checksum
    t5.save(tmp_path / "kept")
    assert tokenizers.make({"name": "t5", "length": 24, "file": str(tmp_path / "kept")}).checksum == t5.checksum


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "bpr"}, "unknown tokenizer 'bpr'; .*'bpe', 'clip', 'gpt2', 't5', 'wordpiece'"),
        ({"size": 3}, r"unknown \['size'\]; its fields are .*'vocab_size'"),
        ({"vocab_size": 100}, "vocab_size=100 must be at least 259"),
        ({"length": 2}, "length=2 leaves no room for a word"),
        ({"dropout": 1.5}, r"dropout=1.5 must be in \[0, 1\]"),
        ({"name": "clip"}, "clip is read from a file: set tokenizer.file"),
        ({"file": "/no/such.json"}, "there is no /no/such.json"),
        ({"file": __file__}, "tokenizers_test.py is no vocabulary of bpe"),
        ({"name": "clip", "file": __file__}, "is no bpe_simple_vocab_16e6.txt.gz"),
    ],
)
def test_wrong_settings_are_one_clear_line(change, message):
    with pytest.raises(ValueError, match=message) as error:
        tokenizers.make(BPE | change, lambda: CAPTIONS[:10])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["bpe", "clip", "gpt2", "t5", "wordpiece"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file: fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "is a git-lfs pointer, .*: run `git lfs pull` beside"),
        (b"<html>", "is a web page"),
        (b"[]", "is no vocabulary of"),
        (b"\xff\xfe\0a", "is no vocabulary of"),
    ],
)
def test_files_that_are_no_vocabulary_are_named(tmp_path, name, content, message):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"tokenizer.file={path} {message}"):
        tokenizers.make({"name": name, "length": 16, "file": str(path)})


@pytest.mark.parametrize(
    ("name", "first", "pad"), [("bpe", "!", "[pad]"), ("gpt2", "!", "<|endoftext|>"), ("wordpiece", "the", "[PAD]")]
)
def test_a_vocabulary_whose_token_0_is_a_word_is_refused(tmp_path, name, first, pad):
    """Else its first word were taken for padding: so is GPT-2's own tokenizer.json, where 0 is "!"."""
    from tokenizers import Tokenizer, models

    tokens = [first, pad, "[start]", "[end]", "[CLS]", "[SEP]"]
    library = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=first))
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=rf"tokenizer.json .*: its token 0 is '{first}' and not the padding"):
        tokenizers.make({"name": name, "length": 16, "file": str(tmp_path / "tokenizer.json")})
