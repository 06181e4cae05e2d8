"""How good is a run, or a chain: its own held-out metrics, and its images against the real ones.

Images are compared in the features of a small net that is trained on the stage's own training split and kept in the
workdir, so that every evaluation of a run is made with the same net; its hash is in the report's receipt. A family that
encodes and decodes but draws nothing is measured by its reconstructions, which bound what a prior over its codes can
do; one that is trained for its features by linear probes (`genjax.pipelines.probing`); one that puts images and texts
into one space by retrieval (`genjax.metrics.retrieval`).

What of this can't be measured, of images without classes or of a handful of them, is omitted with the reason; the rest
stands.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax import sharding
from genjax.data import loader
from genjax.families.interfaces import EvaluateFn
from genjax.generate import Drawn
from genjax.metrics import caption_accuracy, feature_net, novelty, report
from genjax.metrics.retrieval import CANDIDATES
from genjax.pipelines import embedding as clip
from genjax.pipelines import probing
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.trained import Trained
from genjax.stages import Stage
from genjax.training import evaluators

COUNT = 1000
"""Images that are reconstructed, at most."""
COMPARISON = "comparison with real images"
"""What `omitted` calls the rows of `genjax.metrics.report`."""


class Figures:
    """What has been measured so far, and what could not be.

    Attributes:
        result: as `evaluate` returns it.
    """

    def __init__(self, step: int):
        self.result: dict[str, Any] = {"step": step, "held_out": {}, "omitted": {}, "notes": []}

    def add(self, what: str, measure: Callable[[], dict[str, Any]]) -> bool:
        """Put in what a function measures, or why it can't; whether it could."""
        try:
            found = measure()
        except (ValueError, OSError, MemoryError) as error:
            self.result["omitted"][what] = " ".join(str(error).split()) or type(error).__name__
            return False
        for name, value in found.items():
            before = self.result.get(name)
            if isinstance(value, dict):
                value = {**(before or {}), **value}
            elif isinstance(value, list):
                value = [*(before or ()), *value]
            self.result[name] = value
        return True


def evaluate(
    stage: Trained,
    folder: Path,
    drawn: Drawn | None,
    seed: int = 0,
    likelihood: str = "",
    probe_data: Sequence[str] = (),
    probe_noises: Sequence[float] = (0.0,),
) -> dict[str, Any]:
    """Everything that can be measured of a stage; see `genjax.metrics.report` for rows and columns.

    Args:
        stage: a run or a chain; names the data.
        folder: its workdir, where the feature net is kept.
        drawn: samples, with labels if they were requested; None of a family that draws none.
        seed: of the feature net, the subsets, the rival and the noise.
        likelihood: also measure this one of the stage's costly likelihoods.
        probe_data: labelled datasets to probe features with beside the stage's own, see `probing.probe_other`; of a
            CLIP, other data with captions to find each other in.
        probe_noises: standard deviations of the noise on those images that features are probed with.

    Returns:
        "step": of the checkpoint; "held_out": metric -> mean over the held-out split; with images to measure also
        "rows" and "receipt", with features also "linear_probe": share of held-out images whose class is read from
        them; of a CLIP "retrieval": data -> shares of captions and images that are found; of images of prompts
        "captions": kind of caption -> share of images that show all that theirs names
        (`genjax.metrics.caption_accuracy`); of images without classes "novelty". "omitted": what couldn't be measured
        -> why. "notes": what has to be known of the rest. A figure that isn't finite is None, and noted.

    Raises:
        ValueError: as `check`, and for samples of another size than the data's.
    """
    check(stage, likelihood, probe_data)
    if drawn is not None and drawn.images.shape[1:] != stage.spec.image_shape:
        raise ValueError(f"samples of {drawn.images.shape[1:]} can't be compared with data of {stage.spec.image_shape}")
    figures, interface = Figures(stage.step), stage.interface
    figures.add("held-out metrics", lambda: {"held_out": held_out(stage, seed)})
    if likelihood:
        figures.add(f"likelihood {likelihood}", lambda: {"held_out": _costly(stage, likelihood, seed)})
    if interface.encode_image is not None:
        for name in (stage.config.data.name, *probe_data):
            figures.add(f"retrieval in {name}", partial(_retrieval, stage, name, seed))
    elif isinstance(stage, Stage) and interface.features is not None:
        figures.add("linear probe", partial(_own_probe, stage, seed))
        for name in probe_data:
            figures.add(f"linear probe of {name}", partial(_probe, stage, name, probe_noises, seed))
    elif drawn is not None or stage.reconstruct:
        _add_images(figures, stage, folder, drawn, seed)
    return _without_nan(figures.result)


def check(stage: Trained, likelihood: str = "", probe_data: Sequence[str] = ()) -> None:
    """Refuse what a person requested and the stage hasn't, before anything is computed or sampled.

    Raises:
        ValueError: for a likelihood that the family hasn't, or data to probe with that isn't there or doesn't suit.
    """
    interface = stage.interface
    with_likelihood(stage, likelihood)
    if probe_data and interface.features is None and interface.encode_image is None:
        raise ValueError(f"a run of the family {stage.config.family!r} gives no features to probe")
    for data in probe_data:
        name, _, split = data.partition("@")
        spec = loader.Data(_images(stage) | {"name": name, "tokenizer": {}} | ({"split": split} if split else {})).spec
        if interface.encode_image is not None and not spec.has_text:
            raise ValueError(f"--probe_data={data} has no captions to find images by")
        if interface.features is not None and not spec.num_classes:
            raise ValueError(f"--probe_data={data} has no labels to probe features with")


def held_out(stage: Trained, seed: int = 0, likelihood: str = "") -> dict[str, float]:
    """The family's own metrics on the held-out split.

    Args:
        stage: the run.
        seed: of the random numbers in them.
        likelihood: one of the likelihoods of its interface instead, "bound" or "ode".

    Raises:
        ValueError: for a likelihood that the family hasn't.
    """
    evaluate_batch = with_likelihood(stage, likelihood)
    mesh, data = sharding.make_mesh(), loader.Data(_images(stage))
    batches = data.eval_batches(process_index=jax.process_index(), process_count=jax.process_count())
    return evaluators.make_evaluate(evaluate_batch, mesh)(stage.weights, batches, jax.random.key(seed))


def with_likelihood(stage: Trained, likelihood: str) -> EvaluateFn:
    """What evaluates it by one of its costly likelihoods; its own metrics for "".

    Raises:
        ValueError: for a likelihood that the family hasn't.
    """
    known = stage.interface.likelihoods
    if likelihood and likelihood not in known:
        raise ValueError(f"no likelihood {likelihood!r}; this model has {sorted(known) or 'none'}")
    return known[likelihood] if likelihood else stage.evaluate


def _costly(stage: Trained, likelihood: str, seed: int) -> dict[str, float]:
    return {f"{likelihood}/{name}": value for name, value in held_out(stage, seed, likelihood).items()}


def _retrieval(stage: Trained, name: str, seed: int) -> dict[str, Any]:
    return {"retrieval": {name: clip.retrieve(stage, name, seed)._asdict()}}


def _own_probe(stage: Stage, seed: int) -> dict[str, Any]:
    if not stage.spec.num_classes:
        raise ValueError(f"{stage.config.data.name} has no labels to probe features with")
    return {"linear_probe": probing.probe(stage, seed)}


def _probe(stage: Stage, name: str, noises: Sequence[float], seed: int) -> dict[str, Any]:
    return {"linear_probe": probing.probe_other(stage, name, noises, seed)}


def held_out_images(stage: Trained) -> np.ndarray:
    """The images of the held-out split, uint8."""
    return held_out_arrays(stage)["image"]


def held_out_arrays(stage: Trained, count: int = 0) -> dict[str, np.ndarray]:
    """The first so many examples of the held-out split, or all; see `loader.Data.load_arrays`."""
    return loader.Data(_images(stage)).load_arrays(count=count)


def _images(stage: Trained) -> dict[str, Any]:
    """`config.data` of the images themselves, also where a stage was trained on their codes."""
    return stage.config.data.to_dict() | {"encoded": ""}


def _add_images(figures: Figures, stage: Trained, folder: Path, drawn: Drawn | None, seed: int) -> None:
    """What samples, or reconstructions, are worth: by their captions, or else by real images; of images without classes
    by their novelty alone.
    """
    if drawn is not None and drawn.prompts:
        if figures.add("captions", lambda: {"captions": caption_accuracy.by_kind(drawn.images, drawn.prompts)}):
            return
    if not figures.add(COMPARISON, lambda: _compare(stage, folder, drawn, seed)) and drawn is not None:
        figures.add("novelty", lambda: {"novelty": _novelty(stage, drawn)})


def _compare(stage: Trained, folder: Path, drawn: Drawn | None, seed: int) -> dict[str, Any]:
    """Rows and receipt of `genjax.metrics.report`, of samples or of reconstructed training images."""
    if not stage.spec.num_classes:
        raise ValueError(
            f"the data {stage.config.data.name!r} has no classes, by which the net is trained in whose features images "
            "are compared"
        )
    train, test = _both_splits(stage)
    if drawn is None:
        chosen = np.random.default_rng(seed).permutation(len(train["image"]))[:COUNT]
        drawn = Drawn(sampling_lib.reconstruct(stage, train["image"][chosen], seed))
    net = feature_net.load_or_train(
        folder / "feature_net", train["image"], train.get("label"), stage.spec.num_classes, seed
    )
    trained, reference = ((arrays["image"], arrays["label"]) for arrays in (train, test))
    return report.evaluate_samples(drawn.images, drawn.labels, trained, reference, net, seed)


def _novelty(stage: Trained, drawn: Drawn) -> float:
    train, test = _both_splits(stage)
    return novelty.novelty(drawn.images, train["image"], test["image"])


def _both_splits(stage: Trained) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of the training split and of the held-out one."""
    data = loader.Data(_images(stage))
    return data.load_arrays(data.fields.split), data.load_arrays()


def _without_nan(result: dict[str, Any]) -> dict[str, Any]:
    """The result with None for what isn't finite, which no reader of JSON has to understand, and notes of it."""
    wrong = []

    def clean(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner, f"{name}/{key}" if name else key) for key, inner in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            wrong.append(f"{name} is {value}: the model gives what is no number, or the figure isn't defined here")
            return None
        return value

    cleaned = clean(result, "")
    return cleaned | {"notes": [*cleaned["notes"], *wrong]}


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
    if result.get("novelty") is not None:
        lines.append(f"novelty: {result['novelty']:.2f} (1: as far from training images as held-out ones, 0: copies)")
    values = {name: "not finite" if value is None else f"{value:.4g}" for name, value in result["held_out"].items()}
    own = ", ".join(f"{name} {value}" for name, value in values.items())
    lines.append(f"held-out images: {own or 'nothing is measured of them'}")
    lines.append(f"of the checkpoint of step {result['step']}")
    lines += [f"omitted: {what}: {why}" for what, why in result["omitted"].items()]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])
