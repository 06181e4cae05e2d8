"""Train any family: `genjax-train`, from a checkout. See `genjax/launcher/train.py`."""

from genjax.launcher import train

if __name__ == "__main__":
    train.run()
