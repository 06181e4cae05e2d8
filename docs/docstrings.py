"""Docstrings say what several arguments share once, `low, high: bounds of ...`: here each gets the sentence.

So the reference lists them all, and the build still warns of names that no argument has.
"""

import re

import griffe

ENTRY = re.compile(r"^( +)(\w+(?:, \w+)+): ")


def split_shared(text: str) -> str:
    """The docstring with an entry for each name of an entry with several."""
    lines, split = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        entry = ENTRY.match(line)
        if not entry:
            split.append(line)
            continue
        indent, rest = entry[1], []
        while lines and lines[0].startswith(indent + " "):
            rest.append(lines.pop(0))
        for name in entry[2].split(", "):
            split += [f"{indent}{name}: {line[entry.end() :]}", *rest]
    return "\n".join(split)


class SharedEntries(griffe.Extension):
    """Applies `split_shared` to every docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = split_shared(obj.docstring.value)
