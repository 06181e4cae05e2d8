"""Real digits and a feature net on them, made once a session."""

import numpy as np
import pytest

from genjax.metrics import feature_net


@pytest.fixture(scope="session")
def digits():
    """((images, labels) of train, the same of test): within each class every fourth scan is held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * 255 / 16).astype(np.uint8)[..., None]
    held_out = np.zeros(len(images), bool)
    for label in range(10):
        held_out[np.flatnonzero(data.target == label)[::4]] = True
    return (images[~held_out], data.target[~held_out]), (images[held_out], data.target[held_out])


@pytest.fixture(scope="session")
def net(digits):
    """A feature net trained on the digits' training split."""
    return feature_net.train_feature_net(*digits[0], seed=0)
