"""Vocabularies of SentencePiece: unigram models, of which T5's is one."""

import numpy as np

from genjax.core.arguments import ArgumentError, arg


class SentencePieceVocabulary:
    """A vocabulary of SentencePiece with T5's special tokens: 0 is padding, 1 ends each text, 2 stands for the unknown.

    Args:
        model: the bytes of the model file.
    """

    filename = "sentencepiece.model"
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = (1,)
    unknown = 2

    def __init__(self, model: bytes):
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise ValueError("the t5 vocabulary needs sentencepiece: pip install sentencepiece") from error
        self._model = model
        self._processor = SentencePieceProcessor(model_proto=model)
        self.size = self._processor.get_piece_size()
        found = (self._processor.pad_id(), self._processor.eos_id(), self._processor.unk_id())
        if found != (0, 1, 2):
            raise ValueError(
                f"a SentencePiece model with (pad, end, unknown)={found} is none of T5's, which has (0, 1, 2); train "
                "it with pad_id=0, eos_id=1, unk_id=2, bos_id=-1"
            )

    def __getstate__(self):
        return self._model

    def __setstate__(self, model):
        self.__init__(model)

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def encode_dropped(
        self, text: str, dropout: float, rng: np.random.Generator, limit: int | None = None
    ) -> list[int]:
        raise ArgumentError(f"{arg('tokenizer')}.dropout={dropout} is of byte pairs, and t5 has none; set it to 0")

    def decode(self, tokens: list[int]) -> str:
        return self._processor.decode(tokens)

    def contents(self) -> bytes:
        return self._model

    def identity(self) -> bytes:
        return self._model
