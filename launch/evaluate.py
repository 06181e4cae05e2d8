"""Measure a trained run: `genjax-evaluate`, from a checkout. See `genjax/launcher/evaluate.py`."""

from genjax.launcher import evaluate

if __name__ == "__main__":
    evaluate.run()
