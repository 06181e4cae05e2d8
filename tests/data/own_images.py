"""Small folders of images, as a person has them."""

from PIL import Image

from genjax.data import sources


def paint(path, colour=(200, 30, 30), mode="RGB", size=(20, 16), **options):
    """An image of one colour, saved at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)
    return path


def read(path, split="all"):
    """A split of a folder, and all of its records."""
    source = sources.open_source(f"folder:{path}", split)
    return source, [source.records[index] for index in range(len(source.records))]


def warned(caplog) -> str:
    """All warnings so far, a line each."""
    return "\n".join(record.getMessage() for record in caplog.records)
