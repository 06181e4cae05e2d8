"""The words are the field's: `docs/glossary.md` says which, and this test keeps the private ones out."""

import re

import pytest

PLACES = ("genjax", "configs", "launch", "README.md", "docs")
PRIVATE = {
    r"\bpictures?\b": "image",
    r"\btold\b": "conditioned on; announced, named",
    r"\b(left|leave[sd]?|leaving)[ _]out\b": "dropped, omitted, skipped",
    r"\benlarg\w+": "upsample, super-resolution model",
    r"\blikeliest\b": "most likely",
    r"\b_?judge[sd]?\b": "discriminator logits, classifier, measure",
    r"\basked\b": "requested, passed, set",
    r"\basks? for\b": "needs, requests",
    r"\b(pull(s|ed|ing)?)\b(?! request)": "guidance, gradient",
    r"\b(pieces|made) = ": "model, network",
    r"\bmake (it|them|images) (small|large)\b": "downsample, upsample",
    r"\bas good as none\b": "neutral value",
    r"\bsmall (image|picture)s?\b": "low-resolution image",
}
ALLOWED = {r"git lfs pull": "git's own word", r"a picture of": "a caption of the data"}


def lines(root):
    """(place, line) of all text that people read."""
    for place in PLACES:
        files = [root / place] if (root / place).is_file() else sorted((root / place).rglob("*"))
        for path in files:
            if path.suffix in (".py", ".md", ".sh", ".ipynb") and path.name != "glossary.md":
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    yield f"{path.relative_to(root)}:{number}", line


@pytest.mark.parametrize("pattern", PRIVATE)
def test_the_private_dialect_stays_out(root, pattern):
    found = []
    for place, line in lines(root):
        for allowed in ALLOWED:
            line = re.sub(allowed, "", line)
        if re.search(pattern, line, re.I):
            found.append(f"{place}: {line.strip()}")
    assert not found, f"say {PRIVATE[pattern]!r}:\n" + "\n".join(found)
