"""Byte pairs (arXiv:1508.07909): the letters that stand for bytes, and how those of a word are merged."""

from collections.abc import Mapping

import numpy as np


def merge(
    symbols: list[str], ranks: Mapping[tuple[str, str], int], dropout: float, rng: np.random.Generator
) -> list[str]:
    """A word's symbols after its byte pairs are merged, the pair of the lowest rank first.

    BPE dropout (arXiv:1910.13267, algorithm 1): before each merge every pair that could be merged is dropped with
    probability `dropout`; the word is finished when none is left. At 0 it is plain byte pair encoding, at 1 the
    symbols stay as they are.

    Args:
        symbols: of one word.
        ranks: pair -> its place in the order of merges.
        dropout: the probability.
        rng: decides.
    """
    symbols = list(symbols)
    while len(symbols) > 1:
        kept = rng.random(len(symbols) - 1) >= dropout
        pairs = [
            (ranks[pair], place)
            for place, pair in enumerate(zip(symbols, symbols[1:]))
            if kept[place] and pair in ranks
        ]
        if not pairs:
            break
        place = min(pairs)[1]
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
    return symbols


def letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary, in the order in which CLIP numbers them.

    Printable bytes stand for themselves and come first; the others, in their order, are U+0100 and what follows it.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]
