"""What data would be, as far as its settings tell without it: for plans of runs, and for what needs no images."""

from collections.abc import Mapping
from typing import Any

from genjax.data.tokenizers import TextTokenizer
from genjax.typing import DataSpec

CLASSES = {
    "imagenet2012": 1000,
    "imagenet_resized": 1000,
    "cifar10": 10,
    "mnist": 10,
    "digits": 10,
    "captioned_shapes": 0,
}
"""Of the datasets of our configs; 0 of all others."""
VOCABULARIES = {"clip": 49_408, "gpt2": 50_257, "t5": 32_100, "wordpiece": 30_522}
"""Tokens of the published vocabularies."""


def spec(settings: Mapping[str, Any], tokenizer: TextTokenizer | None = None, num_classes: int = 0) -> DataSpec:
    """What `config.data` would give.

    Args:
        settings: `config.data`.
        tokenizer: its own, where it is there.
        num_classes: where it is known; else that of a dataset of our configs.
    """
    classes = num_classes or CLASSES.get(settings["name"].split("/")[0], 0)
    fields = settings.get("tokenizer") or {}
    vocabulary = VOCABULARIES.get(fields.get("name", ""), fields.get("vocab_size", 0))
    length, vocabulary = (
        (tokenizer.length, tokenizer.vocab_size) if tokenizer else (fields.get("length", 0), vocabulary)
    )
    shape = (settings["image_size"], settings["image_size"], settings["channels"])
    return DataSpec(shape, classes, has_text=length > 0, text_length=length, vocab_size=vocabulary)
