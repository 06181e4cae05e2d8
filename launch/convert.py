"""A workdir out of a public checkpoint: `genjax-convert`, from a checkout. See `genjax/launcher/convert.py`."""

from genjax.launcher import convert

if __name__ == "__main__":
    convert.run()
