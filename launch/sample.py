"""Sample from a trained run: `genjax-sample`, from a checkout. See `genjax/launcher/sample.py`."""

from genjax.launcher import sample

if __name__ == "__main__":
    sample.run()
