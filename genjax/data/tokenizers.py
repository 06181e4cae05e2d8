"""Texts as rows of tokens of one length: `config.data.tokenizer`, and what is kept of it in a workdir.

    [start] t_1 t_2 ... t_n [end] 0 0 0        int32 [length]; mask = tokens != 0

0 is padding, always at the end. What a text has too much is cut before [end]. The empty text is all padding in every
vocabulary, without start and end: the null text of classifier-free guidance. `genjax.data.vocabularies` says which
vocabularies there are, and which of them have a start and an end.

A vocabulary of byte pairs is trained on the captions of the training split when it is first requested, always with the
same result. Training keeps it in `WORKDIR/vocabulary`, as it keeps published ones, so that a workdir reads prompts
without the dataset and without the published file.
"""

import logging
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.core import files
from genjax.core.arguments import ArgumentError, arg
from genjax.data import vocabularies
from genjax.data import words as words_lib
from genjax.data.vocabularies import Vocabulary
from genjax.typing import Int

log = logging.getLogger(__name__)

FOLDER = "vocabulary"
"""Where a workdir keeps its vocabulary."""
WORDS = "words.txt"
"""Beside a trained vocabulary: the words of the captions that it was trained on, one a line."""

READERS: dict[str, Callable[[Path], Vocabulary]] = {
    "bpe": vocabularies.read_bpe,
    "clip": vocabularies.read_clip,
    "gpt2": vocabularies.read_gpt2,
    "t5": vocabularies.read_t5,
    "wordpiece": vocabularies.read_wordpiece,
}
"""`config.data.tokenizer.name` -> how its file is read."""


class Settings(NamedTuple):
    """`config.data.tokenizer`.

    Attributes:
        name: "bpe", byte pairs trained on the captions of the training split, or another name of `READERS`.
        length: tokens of a text, with start, end and padding; longer ones are cut.
        vocab_size: of bpe: tokens at most, at least 259.
        file: of a published vocabulary, as in `genjax.data.vocabularies`; of bpe, one that was trained before.
        dropout: of byte pairs, in training: share of the merges that is dropped (BPE dropout).
    """

    name: str
    length: int
    vocab_size: int = 0
    file: str = ""
    dropout: float = 0.0


class TextTokenizer:
    """Texts to tokens and back.

    Args:
        vocabulary: of its tokens.
        length: tokens of a text, with start, end and padding.
        dropout: share of the merges of byte pairs that is dropped in training.
        words: the words that its training captions have; None where nobody knows.
    """

    def __init__(self, vocabulary: Vocabulary, length: int, dropout: float = 0.0, words: frozenset[str] | None = None):
        self._vocabulary, self.length, self.dropout, self._words = vocabulary, length, dropout, words
        self._known = None if words is None else frozenset(part for word in words for part in words_lib.words_of(word))

    @property
    def vocab_size(self) -> int:
        """Tokens are 0..vocab_size-1."""
        return self._vocabulary.size

    @property
    def checksum(self) -> int:
        """uint32: what tells this way of reading texts from others. Dropout doesn't count."""
        return zlib.crc32(f"{self.length}".encode() + self._vocabulary.identity())

    def encode(self, text: str, rng: np.random.Generator | None = None) -> Int[np.ndarray, " s"]:
        """The tokens of a text, int32 [length].

        Args:
            text: any.
            rng: of BPE dropout; without it nothing is dropped.

        Raises:
            ValueError: for a text with bytes that are no UTF-8.
        """
        row = np.zeros(self.length, np.int32)
        if text.strip():
            tokens = self._tokens(text, rng)[: self._room]
            tokens = [*self._vocabulary.start, *tokens, *self._vocabulary.end]
            row[: len(tokens)] = tokens
        return row

    def decode(self, tokens: Int[np.ndarray, " s"]) -> str:
        """The text of a row of tokens, as far as it wasn't cut; in lower case where the vocabulary is."""
        row = [int(token) for token in tokens]
        while row and row[-1] == 0:
            row.pop()
        start, end = len(self._vocabulary.start), len(self._vocabulary.end)
        if tuple(row[:start]) == self._vocabulary.start:
            row = row[start:]
        if end and tuple(row[-end:]) == self._vocabulary.end:
            row = row[:-end]
        return self._vocabulary.decode(row)

    def lost(self, text: str) -> tuple[str, ...]:
        """The words at the end of a text that don't fit into its tokens, whole or in part.

        Of scripts without spaces, the characters.
        """
        if len(self._tokens(text)) <= self._room:
            return ()
        parts = words_lib.pieces_of(text)
        fitting, beyond = 0, len(parts)  # The number of parts that fit is in [fitting, beyond).
        while beyond - fitting > 1:
            middle = (fitting + beyond) // 2
            if len(self._tokens(text[: parts[middle - 1][1]])) <= self._room:
                fitting = middle
            else:
                beyond = middle
        return tuple(piece for piece, _ in parts[fitting:])

    def unknown(self, text: str) -> tuple[str, ...]:
        """The words of a text that no caption of the training data has, or that the vocabulary can't tell apart.

        Of scripts without spaces, the characters.
        """
        words = dict.fromkeys(words_lib.words_of(text))
        if self._known is not None:
            return tuple(word for word in words if word not in self._known)
        if self._vocabulary.unknown is not None:
            return tuple(word for word in words if self._vocabulary.unknown in self._vocabulary.encode(word))
        return ()

    def save(self, folder: Path) -> None:
        """Write what `make` needs to make it again, with `file` set to this folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self._vocabulary.filename).write_bytes(self._vocabulary.contents())
        if self._words is not None:
            (folder / WORDS).write_text("\n".join(sorted(self._words)), encoding="utf-8")

    @property
    def _room(self) -> int:
        return self.length - len(self._vocabulary.start) - len(self._vocabulary.end)

    def _tokens(self, text: str, rng: np.random.Generator | None = None) -> list[int]:
        words_lib.check(text)
        if rng is None or not self.dropout:
            return self._vocabulary.encode(text)
        return self._vocabulary.encode_dropped(text, self.dropout, rng, self._room)


def make(settings: Mapping[str, Any], captions: Callable[[], Iterable[str]] | None = None) -> TextTokenizer:
    """The tokenizer that `config.data.tokenizer` names.

    Args:
        settings: fields of `Settings`.
        captions: gives those of the training split, for a vocabulary that has to be trained.

    Raises:
        ValueError: for an unknown name or field, a file that isn't there or is something else, a length without room
            for a word, or dropout of a vocabulary that has no byte pairs.
    """
    read = _read(settings)
    if read.name == "bpe" and not read.file:
        if captions is None:
            raise ArgumentError(f"{arg('tokenizer')} bpe is trained on captions, and there are none; name its file")
        return _train(read, list(captions()))
    path = _path(read)
    try:
        _check_file(path)
        vocabulary = READERS[read.name](path)
    except FileNotFoundError as error:
        raise ArgumentError(f"{arg('tokenizer')}.file: there is no {error.filename}") from error
    except Exception as error:  # The library's own are bare Exceptions.
        if type(error) in (ValueError, ArgumentError) and str(path) in str(error):
            raise
        why = error.args[0] if isinstance(error, ArgumentError) else error
        raise ArgumentError(f"{arg('tokenizer')}.file={path} is no vocabulary of {read.name}: {why}") from error
    beside = path.with_name(WORDS)
    words = frozenset(beside.read_text(encoding="utf-8").split("\n")) if beside.is_file() else None
    return _checked(TextTokenizer(vocabulary, read.length, read.dropout, words))


def _read(settings: Mapping[str, Any]) -> Settings:
    unknown = sorted(settings.keys() - set(Settings._fields))
    missing = sorted({"name", "length"} - settings.keys())
    if unknown or missing:
        wrong = f"unknown {unknown}" if unknown else f"missing {missing}"
        raise ArgumentError(f"{arg('tokenizer')}: {wrong}; its fields are {list(Settings._fields)}")
    read = Settings(**settings)
    if read.name not in READERS:
        raise ArgumentError(f"unknown tokenizer {read.name!r}; {arg('tokenizer')}.name is one of {sorted(READERS)}")
    if not 0 <= read.dropout <= 1:
        raise ArgumentError(f"{arg('tokenizer')}.dropout={read.dropout} must be in [0, 1]")
    return read


def _path(read: Settings) -> Path:
    """The file of a vocabulary; of a folder, the file in it that `TextTokenizer.save` wrote."""
    if not read.file and read.name == "wordpiece":
        return vocabularies.minilm_file()
    if not read.file:
        raise ArgumentError(f"the vocabulary {read.name} is read from a file: set {arg('tokenizer')}.file")
    path = Path(read.file)
    if not path.is_dir():
        return path
    kind = vocabularies.SentencePieceVocabulary if read.name == "t5" else vocabularies.LibraryVocabulary
    return path / kind.filename


def _check_file(path: Path) -> None:
    """Refuse what people have in place of the file."""
    if found := files.instead(files.read_head(path)):
        raise ArgumentError(f"{arg('tokenizer')}.file={path} is {found}")
    beside = path.with_name("merges.txt")
    if path.name == "vocab.json" and beside.is_file() and (found := files.instead(files.read_head(beside))):
        raise ArgumentError(f"{arg('tokenizer')}.file={path}: {beside} is {found}")


def _train(read: Settings, captions: list[str]) -> TextTokenizer:
    """Byte pairs of captions; says so if some are too long."""
    distinct = sorted(set(captions))
    for caption in distinct:
        words_lib.check(caption)
    words = frozenset(word for caption in distinct for word in words_lib.words_of(caption))
    tokenizer = _checked(
        TextTokenizer(vocabularies.trained(captions, read.vocab_size), read.length, read.dropout, words)
    )
    lengths = [len(tokenizer._tokens(caption)) for caption in distinct]
    cut = sum(length > tokenizer._room for length in lengths)
    if cut:
        longest = distinct[int(np.argmax(lengths))]
        log.warning(
            "captions are cut to tokenizer.length=%d tokens (%d of %d are); the longest, %r, loses %s",
            read.length, cut, len(distinct), words_lib.shorten(longest), describe(tokenizer.lost(longest)),
        )  # fmt: skip
    return tokenizer


def describe(lost: tuple[str, ...]) -> str:
    """What `TextTokenizer.lost` found, for a message: all of it if it is short, else its beginning and the count."""
    text = words_lib.joined(lost)
    shown = words_lib.shorten(text)
    return text if shown == text else f"{shown!r}, {len(lost)} words or characters"


def _checked(tokenizer: TextTokenizer) -> TextTokenizer:
    if tokenizer._room < 1:
        raise ArgumentError(f"{arg('tokenizer')}.length={tokenizer.length} leaves no room for a word")
    if tokenizer.dropout:
        tokenizer.encode("word", np.random.default_rng(0))  # Refused here rather than while training.
    return tokenizer
