"""What a person requests in words: prompts, checked against what a stage can read, as tokens.

A prompt is never refused for its words. What is lost of one that is too long, and words that no training caption has,
are named, once a prompt; the empty prompt requests nothing, which is what a model draws without a condition.
"""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genjax.data import loader, texts, tokenizers, words
from genjax.data.tokenizers import TextTokenizer
from genjax.pipelines.trained import Trained
from genjax.typing import Int

log = logging.getLogger(__name__)


def for_images(
    stage: Trained, count: int, prompts: Sequence[str] | None = None, split: str = ""
) -> tuple[str, ...] | None:
    """The text of each of `count` images: the prompts in turn, or else captions of a split of the data.

    Args:
        stage: a stage whose interface draws images.
        count: number of images.
        prompts: what was requested.
        split: whose captions are taken; the held-out one by default.

    Returns:
        None of a model without text.

    Raises:
        ValueError: for prompts to a model without text, an empty list of them, one that can't be read, or captions
            that aren't there.
    """
    if not stage.interface.text_length:
        if prompts is not None:
            raise ValueError(
                f"a run of the family {stage.config.family!r} reads no text: draw without a prompt, or name the "
                "workdir of a model that was trained on captions"
            )
        return None
    if prompts is None:
        try:
            found = loader.Data(stage.config.data.to_dict()).captions(split, count)
        except ValueError as error:
            raise ValueError(f"give a prompt: there are no captions of these images to draw: {error}") from error
        prompts = [" ".join(captions[:1]) for captions in found]
    else:
        check(prompts)
    if not prompts:
        raise ValueError("there is no prompt; give at least one")
    return tuple(prompts[number % len(prompts)] for number in range(count))


def check(prompts: Sequence[str]) -> None:
    """Refuse what nobody can have meant.

    Raises:
        ValueError: for bytes that are no UTF-8, and control characters.
    """
    for prompt in prompts:
        words.check(prompt)
        if control := texts.CONTROL.search(prompt):
            raise ValueError(
                f"the prompt {words.shorten(prompt)!r} holds the control character {control[0]!r}: leave it out"
            )


def tokens(tokenizer: TextTokenizer, prompts: Sequence[str]) -> Int[np.ndarray, "n s"]:
    """The tokens of each prompt; says which words are lost or unknown.

    Raises:
        ValueError: for a prompt with bytes that are no UTF-8.
    """
    rows = {}
    for prompt in dict.fromkeys(prompts):
        shown = words.shorten(prompt)
        rows[prompt] = tokenizer.encode(prompt)
        if not prompt.strip():
            log.warning("the empty prompt requests nothing: its images are drawn without a condition")
        if lost := tokenizer.lost(prompt):
            log.warning(
                "the prompt %r is too long for %d tokens and loses: %s",
                shown,
                tokenizer.length,
                tokenizers.describe(lost),
            )
        if unknown := tokenizer.unknown(prompt):
            log.warning("the prompt %r has words that no training caption has: %s", shown, words.listed(unknown))
    return np.stack([rows[prompt] for prompt in prompts])


def read_file(path: str | Path) -> list[str]:
    """The prompts of a file, one a line, in UTF-8 or what its byte order mark says; empty lines are skipped.

    Raises:
        ValueError: if it isn't there, is in another encoding or no text, or has no prompts.
    """
    try:
        text = texts.read_text(str(path))
    except OSError as error:
        raise ValueError(f"can't read prompts from {path}: {error.strerror or error}") from error
    lines = re.split(r"\r\n|\r|\n", text)
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ValueError(f"{path} has no prompts: write one a line")
    if _is_json(text) or _is_json(found[0]):
        raise ValueError(f"{path} is JSON: write one prompt a line, without brackets and quotes")
    return found


def _is_json(text: str) -> bool:
    """Whether a text is a list or an object of JSON."""
    try:
        return isinstance(json.loads(text), (list, dict))
    except (ValueError, RecursionError):
        return False
