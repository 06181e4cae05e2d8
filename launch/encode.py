"""Encode a dataset with a trained tokenizer: `genjax-encode`, from a checkout. See `genjax/launcher/encode.py`."""

from genjax.launcher import encode

if __name__ == "__main__":
    encode.run()
