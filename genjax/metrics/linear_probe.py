"""How much of the class a linear classifier can read from features: multinomial logistic regression.

    p(y | f) = softmax(W f' + b),    f' = (f - mean) / std of the training features

W has the prior N(0, 1) (scikit-learn's C = 1), and both are fitted by L-BFGS. Features come from a frozen network,
so the score is one of the features.

Under noise (`probe_noisy`) every image, of training and of test, gets noise of its own before anything else,

    x' = x + sigma * eps,    sigma in the units of [-1, 1],

and so does each rival: raw pixels are the features `pixels`. The classifier is thus fitted to features of noisy
images and requested the classes of other noisy images: the score tells what is left of the class in the
features, not whether noise moves them out of the range that the classifier has seen. That is requested by
`fit_clean`: a classifier fitted to clean images meets noisy ones. One seed gives all rivals the same noise, so that
they can be compared in pairs.
"""

from collections.abc import Callable

import numpy as np

from genjax.typing import Float, ImageUint8, Int, UInt8

MAX_ITERATIONS = 1000

Features = Callable[[Float[np.ndarray, "n h w c"]], Float[np.ndarray, "n d"]]
"""Images in [-1, 1], and beyond where there is noise -> features."""


def probe(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d2"],
    test_labels: Int[np.ndarray, " m"],
) -> float:
    """Share of the test examples whose class a logistic regression on the training features tells, in [0, 1].

    Features that never change are left at zero.

    Raises:
        ValueError: for features of different lengths, or training labels of one class only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if train_features.shape[1] != test_features.shape[1]:
        raise ValueError(
            f"training features have {train_features.shape[1]} numbers and test features {test_features.shape[1]}; "
            "take both from the same network"
        )
    if len(np.unique(train_labels)) < 2:
        raise ValueError("a probe needs training examples of at least 2 classes")
    scaler = StandardScaler().fit(train_features.astype(np.float64))
    classifier = LogisticRegression(max_iter=MAX_ITERATIONS)
    classifier.fit(scaler.transform(train_features.astype(np.float64)), train_labels)
    return float(classifier.score(scaler.transform(test_features.astype(np.float64)), test_labels))


def probe_noisy(
    features: Features,
    train: tuple[ImageUint8, Int[np.ndarray, " n"]],
    test: tuple[UInt8[np.ndarray, "m h w c"], Int[np.ndarray, " m"]],
    sigma: int | float = 0.0,
    seed: int = 0,
    fit_clean: bool = False,
) -> float:
    """`probe` of the features of images under Gaussian noise; see the module.

    Args:
        features: called on all images of a split at once, float32.
        train, test: (images, labels) of the splits.
        sigma: standard deviation of the noise, in the units of [-1, 1]; 0 for clean images.
        seed: of the noise.
        fit_clean: leave the training images without noise, so that only the test images have it.
    """
    rng = np.random.default_rng(seed)
    values = []
    for (images, labels), scale in ((train, 0.0 if fit_clean else sigma), (test, sigma)):
        clean = images.astype(np.float32) / 127.5 - 1
        noisy = clean + np.float32(scale) * rng.standard_normal(clean.shape, np.float32)
        values += [np.asarray(features(noisy)), labels]
    return probe(*values)


def pixels(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n d"]:
    """The pixels themselves as features: what a network's features have to beat."""
    return images.reshape(len(images), -1)
