"""Floor 1: images, labels and captions from disk to batches, in numpy.

The only room that knows TFDS and grain.
"""
