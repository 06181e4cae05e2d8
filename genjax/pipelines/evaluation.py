"""How good are the samples of a stage: its pictures against the real ones, in the features of a small net.

The feature net is trained on the stage's own training split and kept in the workdir, so that every evaluation of a run
is made with the same net; its hash is in the report's receipt.
"""

from pathlib import Path
from typing import Any

from genjax.data import loader
from genjax.metrics import feature_net, report
from genjax.pipelines.images import Drawn
from genjax.stages import Stage


def evaluate(stage: Stage, folder: Path, drawn: Drawn, seed: int = 0) -> dict[str, Any]:
    """Compare samples with the stage's data; see `genjax.metrics.report` for rows and columns.

    Args:
        stage: the run that made the samples: names the data.
        folder: its workdir, where the feature net is kept.
        drawn: the samples, with labels if they were asked for.
        seed: of the feature net, the subsets and the rival.

    Raises:
        ValueError: for data without labels, or samples of another size than the data's.
    """
    if drawn.images.shape[1:] != stage.spec.image_shape:
        raise ValueError(f"samples of {drawn.images.shape[1:]} can't be compared with data of {stage.spec.image_shape}")
    settings = stage.config.data.to_dict()
    train, test = (loader.load_arrays(settings, settings[split]) for split in ("split", "eval_split"))
    net = feature_net.load_or_train(
        folder / "feature_net", train["image"], train.get("label"), stage.spec.num_classes, seed
    )
    pairs = ((arrays["image"], arrays["label"]) for arrays in (train, test))
    return report.evaluate_samples(drawn.images, drawn.labels, *pairs, net, seed)
