"""How good is a stage: its own held-out metrics, and its pictures against the real ones.

Pictures are compared in the features of a small net that is trained on the stage's own training split and kept in the
workdir, so that every evaluation of a run is made with the same net; its hash is in the report's receipt. A family that
encodes and decodes but draws nothing is judged by its reconstructions, which bound what a prior over its codes can do;
one that is trained for its features by linear probes (`genjax.pipelines.probing`); one that puts pictures and texts
into one space by retrieval (`genjax.metrics.retrieval`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax import sharding
from genjax.data import loader
from genjax.families.base import FeatureExtractor, ImageTextEncoder
from genjax.metrics import caption_accuracy, feature_net, report
from genjax.metrics.retrieval import CANDIDATES
from genjax.pipelines import clip, images, probing
from genjax.pipelines.images import Drawn
from genjax.stages import Stage
from genjax.training import evaluators

COUNT = 1000
"""Pictures that are reconstructed, at most."""


def evaluate(
    stage: Stage,
    folder: Path,
    drawn: Drawn | None,
    seed: int = 0,
    likelihood: str = "",
    probe_data: Sequence[str] = (),
    probe_noises: Sequence[float] = (0.0,),
) -> dict[str, Any]:
    """Everything that can be measured of a stage; see `genjax.metrics.report` for rows and columns.

    Args:
        stage: names the data.
        folder: its workdir, where the feature net is kept.
        drawn: samples, with labels if they were asked for; None of a family that draws none.
        seed: of the feature net, the subsets, the rival and the noise.
        likelihood: also measure this one of the stage's costly likelihoods.
        probe_data: labelled datasets to probe features with beside the stage's own, see `probing.probe_other`; of a
            CLIP, other data with captions to find each other in.
        probe_noises: standard deviations of the noise on those pictures that features are probed with.

    Returns:
        "held_out": metric -> mean over the held-out split; with pictures to judge also "rows" and "receipt", with
        features also "linear_probe": share of held-out pictures whose class is read from them; of a CLIP "retrieval":
        data -> shares of captions and pictures that are found; of pictures of prompts "captions": kind of caption ->
        share of pictures that show all that theirs names (`genjax.metrics.caption_accuracy`).

    Raises:
        ValueError: for data without labels, samples of another size than the data's, prompts that are no captions of
            `captioned_shapes`, or a probe of a family that has no features.
    """
    result: dict[str, Any] = {"held_out": held_out(stage, seed)}
    if likelihood:
        result["held_out"] |= {f"{likelihood}/{name}": x for name, x in held_out(stage, seed, likelihood).items()}
    if isinstance(stage.family.interface, ImageTextEncoder):
        names = (stage.config.data.name, *probe_data)
        return result | {"retrieval": {name: clip.retrieve(stage, name, seed)._asdict() for name in names}}
    if isinstance(stage.family.interface, FeatureExtractor):
        figures = probing.probe(stage, seed) if stage.spec.num_classes else {}
        for data in probe_data:
            figures |= probing.probe_other(stage, data, probe_noises, seed)
        return result | {"linear_probe": figures}
    if probe_data:
        raise ValueError(f"a run of the family {stage.config.family!r} gives no features to probe")
    if drawn is not None and drawn.prompts:
        return result | {"captions": caption_accuracy.by_kind(drawn.images, drawn.prompts)}
    if drawn is None and stage.family.reconstruct:
        train = loader.load_arrays(_pictures(stage), stage.config.data.split)["image"]
        chosen = np.random.default_rng(seed).permutation(len(train))[:COUNT]
        drawn = Drawn(images.reconstruct(stage, train[chosen], seed), None, None)
    return result | (_compare(stage, folder, drawn, seed) if drawn else {})


def held_out(stage: Stage, seed: int = 0, likelihood: str = "") -> dict[str, float]:
    """The family's own metrics on the held-out split.

    Args:
        stage: the run.
        seed: of the random numbers in them.
        likelihood: one of the likelihoods of its interface instead, "bound" or "ode".

    Raises:
        ValueError: for a likelihood that the family hasn't.
    """
    family = stage.family
    if likelihood:
        known = getattr(family.interface, "likelihoods", {})
        if likelihood not in known:
            raise ValueError(f"no likelihood {likelihood!r}; this model has {sorted(known) or 'none'}")
        family = family._replace(evaluate=known[likelihood])
    mesh, settings = sharding.make_mesh(), _pictures(stage)
    batches = loader.eval_batches(
        settings, settings["eval_split"], settings["batch_size"], jax.process_index(), jax.process_count()
    )
    return evaluators.make_evaluate(family, mesh)(stage.weights, batches, jax.random.key(seed))


def held_out_images(stage: Stage) -> np.ndarray:
    """The pictures of the held-out split, uint8."""
    return loader.load_arrays(_pictures(stage), stage.config.data.eval_split)["image"]


def _pictures(stage: Stage) -> dict[str, Any]:
    """`config.data` of the pictures themselves, also where a stage was trained on their codes."""
    return stage.config.data.to_dict() | {"encoded": ""}


def _compare(stage: Stage, folder: Path, drawn: Drawn, seed: int) -> dict[str, Any]:
    if drawn.images.shape[1:] != stage.spec.image_shape:
        raise ValueError(f"samples of {drawn.images.shape[1:]} can't be compared with data of {stage.spec.image_shape}")
    settings = _pictures(stage)
    train, test = (loader.load_arrays(settings, settings[split]) for split in ("split", "eval_split"))
    net = feature_net.load_or_train(
        folder / "feature_net", train["image"], train.get("label"), stage.spec.num_classes, seed
    )
    pairs = ((arrays["image"], arrays["label"]) for arrays in (train, test))
    return report.evaluate_samples(drawn.images, drawn.labels, *pairs, net, seed)


def format_result(result: dict[str, Any]) -> str:
    """What `evaluate` found, for people."""
    lines = [report.format_table(result)] if "rows" in result else []
    lines += [f"{name}: {value:.1%}" for name, value in result.get("linear_probe", {}).items()]
    lines += [f"captions of {kind}: {share:.1%} right" for kind, share in result.get("captions", {}).items()]
    lines += [
        f"{name}: right {kind} first among {CANDIDATES}: {share:.1%}"
        for name, shares in result.get("retrieval", {}).items()
        for kind, share in shares.items()
    ]
    lines += [f"holes: {name}: {share:.1%}" for name, share in result.get("holes", {}).items()]
    own = ", ".join(f"{name} {value:.4g}" for name, value in result["held_out"].items())
    return "\n".join([*lines, f"held-out pictures: {own}"])
