"""Samples as people request them, of a command line or in a notebook: one value, and what serves it.

    request = SampleRequest(count=16, label="3", options={"guidance_scale": 2.0}, sampler="ddim", num_steps="25")
    stage = prepare(folders.load("runs/ddpm_digits"), request)
    drawn = draw(stage, request)

`prepare` changes what has to be compiled anew; all else of a request is an argument of what is compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from genjax import stages
from genjax.data.labels import label_of
from genjax.families.options import OPTIONS
from genjax.generate import Drawn
from genjax.pipelines import dalle2_editing, editing, folders, named_files, prompts, rejection, reranking
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.guides import registry as guides
from genjax.pipelines.trained import Trained

EDITS = {**editing.USAGE, **dalle2_editing.USAGE}
"""Edits of images by name, and what their arguments are."""


class UnknownSetting(ValueError):
    """A run hasn't the setting whose name the message starts with."""


class SampleRequest(NamedTuple):
    """Samples that somebody wants.

    Attributes:
        count: how many images, where no prompts say it.
        label: a class, by its name or its number; None for all classes in equal shares.
        prompts: texts; None of a model that reads texts: captions of its data.
        each: images of each prompt or caption.
        split: whose captions are taken where there are no prompts; "" for the held-out split's.
        options: scalars, such as guidance_scale, truncation or temperature; by default the config's.
        seed: of the noise.
        keep: share of the drawn images that a classifier keeps, see `genjax.pipelines.rejection`.
        rerank: "WORKDIR:N", a CLIP that keeps one of N, see `genjax.pipelines.reranking`; "" for none.
        sampler: ancestral, ddim, heun, dpmpp_2m, ...; "" for the config's.
        num_steps: 25, ddim25 or 10,10,3,2,2; "" for the config's.
        trajectory: whether the way from noise to image is kept.
        guides: as `genjax.pipelines.guides.registry.make` reads them; () for the config's, ("",) for none.
        edit: (name, argument) of one of `EDITS`.
    """

    count: int = 16  # type: ignore[assignment]  # tuples have a method of this name, which nobody needs of a request
    label: str | None = None
    prompts: Sequence[str] | None = None
    each: int = 1
    split: str = ""
    options: Mapping[str, float] = MappingProxyType({})
    seed: int = 0
    keep: float = 1.0
    rerank: str = ""
    sampler: str = ""
    num_steps: str = ""
    trajectory: bool = False
    guides: tuple[str, ...] = ()
    edit: tuple[str, str] | None = None

    @property
    def compiled(self) -> tuple:
        """What sampling compiles anew for; whatever else changes, `prepare` gives the same."""
        return self.sampler, self.num_steps, self.trajectory, self.guides, self.edit


def make(**settings: Any) -> SampleRequest:
    """A request with fields, scalar options and edits by name.

    Raises:
        ValueError: for an unknown name, or two edits.
    """
    fields = [name for name in SampleRequest._fields if name not in ("options", "edit")]
    unknown = sorted(settings.keys() - OPTIONS.keys() - EDITS.keys() - set(fields))
    if unknown:
        known = [name for name in fields if name not in ("count", "each", "split")]
        raise ValueError(
            f"there is no setting {unknown[0]!r} of sampling; there are {', '.join(known)}; options "
            f"{', '.join(OPTIONS)}; edits {', '.join(EDITS)}"
        )
    edits = [(name, str(value)) for name, value in settings.items() if name in EDITS]
    if len(edits) > 1:
        raise ValueError(f"one edit at a time, not {' and '.join(name for name, _ in edits)}")
    request = {name: value for name, value in settings.items() if name in fields}
    options = {name: _number(value) for name, value in settings.items() if name in OPTIONS}
    return SampleRequest(options=options, edit=edits[0] if edits else None, **request)


def _number(value: Any) -> Any:
    """A whole number as a float; what is no number is refused with the option's range, where it is read."""
    return float(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else value


def overrides(config: ConfigDict, request: SampleRequest) -> dict[str, Any]:
    """What a request changes of `config.sampling`.

    Raises:
        UnknownSetting: for a setting that a run of this config hasn't.
    """
    edit = _edit(request)
    chosen: dict[str, Any] = dict(edit.sampling) if edit else {}
    if request.trajectory or "trajectory" in config.sampling:
        chosen["trajectory"] = request.trajectory
    if request.sampler:
        chosen["sampler"] = {"name": request.sampler}
    if request.num_steps:
        chosen["num_steps"] = request.num_steps
    for name in ("trajectory", "sampler", "num_steps"):
        if name in chosen and name not in config.sampling and not edit:
            known = ", ".join(sorted(config.sampling)) or "none"
            raise UnknownSetting(
                f"{name}: a run of the family {config.family!r} has no {name}; leave it out (its settings: {known})"
            )
    return chosen


def check_named(request: SampleRequest) -> None:
    """Look at all files and runs that a request names, before anything is loaded or compiled, which takes long.

    Raises:
        ValueError: for one that isn't there or is something else, or a prompt that nobody can have meant.
    """
    if request.edit:
        name, text = request.edit
        named_files.check(f"--{name}={text}", _edit(request).named)
    for text in filter(None, request.guides):
        named_files.check(f"--guide={text}", guides.named(text))
    if request.rerank:
        folder, _ = reranking.parse(request.rerank)
        named_files.check(f"--rerank={request.rerank}", named_files.Named(runs=(folder,)))
    prompts.check(request.prompts or ())


def prepare(stage: Trained, request: SampleRequest) -> Trained:
    """A run or a chain as `folders.load` gives it, with the sampler, the steps and the guides of a request.

    Raises:
        ValueError: as `overrides`, `folders.with_sampling` and `guides.registry.make`.
    """
    texts = request.guides or stage.config.sampling.get("guides", ())
    stage = folders.with_sampling(stage, overrides(stage.config, request))
    return guides.guide(stage, [guides.make(text, stage) for text in texts if text])


def draw(stage: Trained, request: SampleRequest, program: Callable[..., Any] | None = None) -> Drawn:
    """The images that were requested.

    Args:
        stage: as `prepare` gives it.
        request: what is wanted.
        program: see `sampling_lib.draw`.

    Raises:
        ValueError: for an edit that needs a class or a prompt and has none, or wishes that don't go together.
    """
    edit, reads = _edit(request), stage.interface.text_length
    texts = None if request.prompts is None else [text for text in request.prompts for _ in range(request.each)]
    _check_edit(stage, edit, request)
    count = request.count if texts is None else len(texts)
    if texts is None and reads and not edit:
        captions = prompts.for_images(stage, -(-count // request.each), split=request.split)
        texts = [captions[number // request.each] for number in range(count)]
    settings: dict[str, Any] = {
        "options": request.options,
        "seed": request.seed,
        **({"program": program} if program else {}),
    }
    if request.rerank:
        return _draw_best(stage, request, texts, settings)
    settings |= {"label": class_of(stage, request.label), "prompts": texts}
    if request.keep == 1:
        if edit:
            settings["conditions"] = edit.conditions(stage, count)
        return sampling_lib.draw(stage, count, **settings)
    if edit:
        raise ValueError("keep chooses among samples, not among edits of an image; leave one of the two out")
    return rejection.draw_best(stage, rejection.train_classifier(stage), count, request.keep, **settings)


def columns(stage: Trained, request: SampleRequest) -> int | None:
    """Columns of a grid: one a class where all classes are drawn."""
    return stage.interface.num_classes or None if request.label is None else None


def class_of(stage: Trained, label: str | None) -> int | None:
    """A class, by its name or its number, as a number; None for all.

    Raises:
        ValueError: for a class that there isn't.
    """
    return None if label is None else label_of(label, stage.spec.class_names, stage.interface.num_classes)


def _edit(request: SampleRequest) -> editing.Edit | None:
    """The edit that was requested."""
    if request.edit is None:
        return None
    name, argument = request.edit
    return (dalle2_editing if name in dalle2_editing.USAGE else editing).make(name, argument)


def _check_edit(stage: Trained, edit: editing.Edit | None, request: SampleRequest) -> None:
    """Refuse an edit that needs one class or one prompt, and has none."""
    if not edit or not edit.one_label:
        return
    interface = stage.interface
    if interface.num_classes and request.label is None:
        raise ValueError("this edit of a class-conditional model needs one class for all images; set the label")
    if interface.text_length and len(set(request.prompts or ())) != 1:
        raise ValueError("this edit of a text model needs one prompt for all images; set one")


def _draw_best(
    stage: Trained, request: SampleRequest, texts: Sequence[str] | None, settings: Mapping[str, Any]
) -> Drawn:
    """The images that a CLIP chooses."""
    if request.edit or request.keep != 1 or request.label is not None:
        raise ValueError("rerank chooses among images of prompts: leave edits, keep and the label out")
    folder, candidates = reranking.parse(request.rerank)
    if texts is None:
        raise ValueError("rerank needs a model that reads text, and this one reads none")
    return reranking.draw_best(stage, stages.load(folder), texts, candidates, **settings)
