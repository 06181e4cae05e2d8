"""The flags by which samples of a workdir are requested, and what they come to."""

from pathlib import Path
from typing import Any

from absl import flags

from genjax import stages
from genjax.core.ranges import COUNT, Range
from genjax.data.labels import label_of
from genjax.families.base import ImageSampler
from genjax.families.base_options import OPTIONS
from genjax.launcher.flags import define_number, define_path, define_seed, define_stages, given, refuse
from genjax.pipelines import (
    dalle2_editing,
    editing,
    evaluation,
    filling,
    folders,
    images,
    named_files,
    prompts,
    rejection,
    reranking,
    sample_files,
)
from genjax.pipelines.guides import registry as guides
from genjax.training import places, workdir

EDITS = {**editing.USAGE, **dalle2_editing.USAGE}
PROMPTS = ("prompt", "prompts_file", "prompts_split", "samples_per_prompt")
CHOICES = ("keep", "rerank")
SAMPLING = ("num_samples", "seed", "label", *PROMPTS, *OPTIONS, *EDITS, *CHOICES, "guide", "sampler", "num_steps")
"""All flags but `--workdir`."""


class SamplingFlags:
    """The flags by which samples are requested of a workdir; shared by all programs that draw some.

    Args:
        num_samples: how many by default.
        writes: whether the program writes to the workdir.
    """

    def __init__(self, num_samples: int, writes: bool = False):
        self._workdir = define_path("workdir", "Folder of the run.", writes, required=True)
        self._stages = define_stages()
        self._num_samples = define_number("num_samples", num_samples, "Number of images.", COUNT)
        self._label = flags.DEFINE_string(
            "label", None, "Class, by its name or its number; by default all classes in equal shares."
        )
        self._prompts = flags.DEFINE_multi_string(
            "prompt", None, "What a text model is to draw; several times for several. Default: held-out captions."
        )
        self._prompts_file = define_path("prompts_file", "A file of prompts, one a line.")
        self._prompts_split = flags.DEFINE_string(
            "prompts_split", "", "Whose captions are drawn where there is no prompt; default: the held-out split's."
        )
        self._samples_per_prompt = define_number(
            "samples_per_prompt", 1, "Images of each prompt, or of each held-out caption.", COUNT
        )
        self._options = {
            name: define_number(name, None, f"{option.usage}; default: the config's.", option.within)
            for name, option in OPTIONS.items()
        }
        self._guides = flags.DEFINE_multi_string(
            "guide", [], f"{guides.USAGE}: a gradient from outside. Several add up. Default: the config's; empty: none."
        )
        self._edits = {
            name: flags.DEFINE_string(name, None, f"{usage}. One edit at a time.") for name, usage in EDITS.items()
        }
        self._sampler = flags.DEFINE_string(
            "sampler", None, "ancestral, ddim, heun, dpmpp_2m, ...; default: the config's."
        )
        self._num_steps = flags.DEFINE_string("num_steps", None, "25, ddim25 or 10,10,3,2,2; default: the config's.")
        self._seed = define_seed("Seed of the noise.")
        self._keep = define_number(
            "keep",
            1.0,
            "Draw more, and keep this share: the images of each class that a classifier is surest of.",
            Range(0, 1, above=True),
        )
        self._rerank = flags.DEFINE_string("rerank", None, f"{reranking.USAGE}.")

    @property
    def workdir(self) -> Path:
        """The folder of the run."""
        return self._workdir.value

    @property
    def seed(self) -> int:
        """The seed of the noise."""
        return self._seed.value

    @property
    def count(self) -> int:
        """How many images were requested."""
        return self._num_samples.value

    @property
    def options(self) -> dict[str, float]:
        """The scalars that were set, of `OPTIONS`."""
        return {name: flag.value for name, flag in self._options.items() if flag.value is not None}

    def load(self, trajectory: bool = False) -> stages.Stage:
        """The stage in the workdir, with the sampler and the guides that were requested.

        Raises:
            ValueError: for settings of sampling that such a run hasn't, and as `folders.load`.
        """
        self._check_named()
        with places.override(self._stages.value):
            return self._load(trajectory)

    def _check_named(self) -> None:
        """Look at all files and runs that flags name, before the stage is loaded, which takes long."""
        for name, text in self._requested().items():
            named_files.check(f"--{name}={text}", self._edit().named)
        for text in filter(None, self._guides.value):
            named_files.check(f"--guide={text}", guides.named(text))
        if self._rerank.value:
            folder, _ = reranking.parse(self._rerank.value)
            named_files.check(f"--rerank={self._rerank.value}", named_files.Named(runs=(folder,)))
        prompts.check(self.prompts() or ())

    def _load(self, trajectory: bool) -> stages.Stage:
        edit = self._edit()
        config = workdir.read_config(workdir.locate(self.workdir))
        overrides: dict[str, Any] = {**(edit.sampling if edit else {})}
        if trajectory or "trajectory" in config.sampling:
            overrides["trajectory"] = trajectory
        if self._sampler.value:
            overrides["sampler"] = {"name": self._sampler.value}
        if self._num_steps.value:
            overrides["num_steps"] = self._num_steps.value
        for name in ("trajectory", "sampler", "num_steps"):
            if name in overrides and name not in config.sampling and not edit:
                raise ValueError(f"--{name}: a run of the family {config.family!r} has no {name}; leave it out")
        stage = folders.load(self.workdir, sampling=overrides)
        texts = self._guides.value or config.sampling.get("guides", ())
        return guides.guide(stage, [guides.make(text, stage) for text in texts if text])

    def draw(self, stage: stages.Stage) -> images.Drawn:
        """The images that were requested.

        Raises:
            ValueError: for an edit that needs a class or a prompt and has none, or flags that don't go together.
        """
        requested, edit = self.prompts(), self._edit()
        count = len(requested) if requested else self.count
        self._check_edit(stage, edit, requested)
        reads = getattr(stage.family.interface, "text_length", 0)
        if self._prompts_split.value and (edit or not reads):
            whose = "edits" if edit else "a model that reads no text"
            raise ValueError(f"--prompts_split names whose captions are drawn: {whose} can't use it; leave it out")
        if not reads:
            refuse("this model reads no text", "samples_per_prompt")
        if requested is None and reads and not edit:
            each = self._samples_per_prompt.value
            captions = prompts.for_pictures(stage, -(-count // each), split=self._prompts_split.value)
            requested = [captions[number // each] for number in range(count)]
        settings = {
            "label": self._class(stage),
            "prompts": requested,
            "options": self.options,
            "seed": self.seed,
        }
        if self._rerank.value:
            return self._draw_best(stage, requested, edit, settings)
        if self._keep.value == 1:
            return images.draw(stage, count, conditions=edit.conditions(stage, count) if edit else None, **settings)
        if edit:
            raise ValueError("--keep chooses among samples, not among edits of an image; leave one of the two out")
        return rejection.draw_best(stage, rejection.train_classifier(stage), count, self._keep.value, **settings)

    def samples(self, stage: stages.Stage, found: images.Drawn | None) -> images.Drawn | None:
        """Those that were found in a file, or new ones where there are none; None of a family that draws none.

        Args:
            stage: of the run.
            found: what `sample_files.read` has read.

        Raises:
            ValueError: for flags of sampling where nothing is drawn, and as `draw` and `sample_files.check`.
        """
        if not given("probe_data"):
            refuse("there is no --probe_data", "probe_noise")
        walked = given("likelihood") or (stage.family.reconstruct and not found)
        kept = tuple(name for name in SAMPLING if name not in ("sampler", "num_steps") or not walked)
        if found:
            refuse("--samples names images that are there already", *kept)
            sample_files.check(found, stage.spec)
            return found
        if isinstance(stage.family.interface, ImageSampler):
            return self.draw(stage)
        refuse(f"a run of the family {stage.config.family!r} draws no images", *kept)
        return None

    def fill_holes(self, stage: stages.Stage) -> dict[str, dict[str, float]]:
        """ "holes": how well the stage fills them, see `genjax.pipelines.filling`.

        Raises:
            ValueError: for flags that mean nothing to it, or as `filling.measure`.
        """
        what = "--fill_holes fills held-out scenes by their captions: other prompts, classes and edits have no place"
        refuse(what, "label", *PROMPTS, *EDITS, *CHOICES, "samples")
        return {"holes": filling.measure(stage, self.count, self.options, self.seed)}

    def reconstruct(self, stage: stages.Stage) -> images.Drawn:
        """As many held-out images as were requested, or all there are, each with its reconstruction.

        Raises:
            ValueError: for flags that mean nothing to it, or a stage that reconstructs none.
        """
        refuse(
            "--reconstruct shows held-out images, and draws none",
            *("label", *PROMPTS, *OPTIONS, *EDITS, *CHOICES, "guide", "trajectory"),
        )
        return images.pairs(stage, evaluation.held_out_images(stage)[: self.count], self.seed)

    def prompts(self) -> list[str] | None:
        """The prompts that were set, each as often as images of it; None if there are none.

        Raises:
            ValueError: for two ways of saying what or how many images, or a file without prompts.
        """
        each = self._samples_per_prompt.value
        found = list(self._prompts.value or [])
        if self._prompts_file.value:
            found += prompts.read_file(self._prompts_file.value)
        if found and given("num_samples"):
            raise ValueError("the prompts say how many images there are: set --samples_per_prompt, not --num_samples")
        if found and self._prompts_split.value:
            raise ValueError("there are prompts: leave --prompts_split out, which draws the captions of data instead")
        return [prompt for prompt in found for _ in range(each)] or None

    def columns(self, stage: stages.Stage) -> int | None:
        """Columns of a grid: one a class where all classes are drawn."""
        return stage.family.interface.num_classes or None if self._label.value is None else None

    def _class(self, stage: stages.Stage) -> int | None:
        """The class that was requested, as a number; None for all."""
        text = self._label.value
        return None if text is None else label_of(text, stage.spec.class_names, stage.family.interface.num_classes)

    def _check_edit(self, stage: stages.Stage, edit: editing.Edit | None, requested: list[str] | None) -> None:
        """Refuse an edit that needs one class or one prompt, and has none."""
        if not edit or not edit.one_label:
            return
        interface = stage.family.interface
        if interface.num_classes and self._label.value is None:
            raise ValueError("this edit of a class-conditional model needs one class for all images; add --label")
        if getattr(interface, "text_length", 0) and len(set(requested or ())) != 1:
            raise ValueError("this edit of a text model needs one prompt for all images; add --prompt")

    def _draw_best(
        self, stage: stages.Stage, requested: list[str] | None, edit: editing.Edit | None, settings: dict[str, Any]
    ) -> images.Drawn:
        """The images that a CLIP chooses."""
        if edit or self._keep.value != 1 or self._label.value is not None:
            raise ValueError("--rerank chooses among images of prompts: leave edits, --keep and --label out")
        folder, candidates = reranking.parse(self._rerank.value)
        if requested is None:
            raise ValueError("--rerank needs a model that reads text, and this one reads none")
        chosen = {name: settings[name] for name in ("options", "seed")}
        return reranking.draw_best(stage, stages.load(folder), requested, candidates, **chosen)

    def _requested(self) -> dict[str, str]:
        """The edits that were requested, by their names."""
        return {name: flag.value for name, flag in self._edits.items() if flag.value is not None}

    def _edit(self) -> editing.Edit | None:
        """The edit that was requested."""
        requested = self._requested()
        if len(requested) > 1:
            raise ValueError(f"one edit at a time, not {' and '.join(f'--{name}' for name in requested)}")
        for name, text in requested.items():
            return (dalle2_editing if name in dalle2_editing.USAGE else editing).make(name, text)
        return None
