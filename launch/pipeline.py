"""Train a chain of runs, and sample: `genjax-pipeline`, from a checkout. See `genjax/launcher/pipeline.py`."""

from genjax.launcher import pipeline

if __name__ == "__main__":
    pipeline.run()
