"""What every program in `launch/` starts with: devices, caches, and errors that a person can read.

A mistake of the person at the keyboard is a `ValueError` or an `OSError` anywhere in the code. Here it becomes one line
and exit code 1; with `--traceback`, the whole way. Any other exception is a mistake of ours, and shows its traceback.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections.config_flags import config_flags

from genjax import stages
from genjax.families.base import ImageSampler
from genjax.pipelines import (
    dalle2_editing,
    editing,
    evaluation,
    filling,
    folders,
    images,
    prompts,
    rejection,
    reranking,
)
from genjax.pipelines.guides import registry as guides
from genjax.training import workdir

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error came from.")
_CACHE = flags.DEFINE_string(
    "compilation_cache",
    str(Path.home() / ".cache" / "genjax" / "xla"),
    "Folder where compiled programs are kept from run to run; empty: nowhere.",
)
_MULTIHOST = flags.DEFINE_bool(
    "multihost",
    False,
    "One of several processes. TPU pods, GKE, Slurm and MPI are recognised; elsewhere say the three flags that follow.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "With --multihost: host:port of process 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --multihost: how many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --multihost: which of them this is, from 0.")


def define_config():
    """The flags `--config=FILE[:variant]` and `--config.field=value`; unknown fields and wrong types are errors."""
    return config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/ddpm_digits.py", lock_config=True)


def run(main: Callable[[], None]) -> None:
    """Parse the flags, set jax up, call `main`, and end the program with its errors told in one line."""
    app.run(lambda argv: _call(main, argv), flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    """absl's parsing, with the config file's errors put in one line."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:
        _fail(f"unknown config field: {str(error).strip(chr(34))}")
    except (ValueError, TypeError, OSError) as error:
        _fail(error)


def _call(main: Callable[[], None], argv: Sequence[str]) -> None:
    if len(argv) > 1:
        _fail(f"unexpected arguments {argv[1:]}; flags start with --")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax tells of every file that it writes
    if _CACHE.value:
        jax.config.update("jax_compilation_cache_dir", _CACHE.value)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if _MULTIHOST.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    try:
        main()
    except (ValueError, OSError) as error:
        if _TRACEBACK.value:
            raise
        _fail(error)


def _fail(error: Exception | str) -> None:
    """Tell what is wrong in one line, and exit with 1."""
    text = " ".join(str(error).split())
    print(f"error: {text}", file=sys.stderr, flush=True)
    sys.exit(1)


OPTIONS = {
    "guidance_scale": "Strength of guidance, 1 = none",
    "prior_guidance_scale": "Strength of guidance of the prior of a DALL-E 2, 1 = none",
    "aug_level": "Noise on the small pictures between the stages of a cascade, 0 = none",
    "truncation": "Truncation of a GAN's noise",
    "temperature": "Temperature of an autoregressive model",
    "top_k": "Draw from the k likeliest codes only, 0 = from all",
    "top_p": "Draw from the likeliest codes that make up this probability, 1 = from all",
}
"""Scalars that a family may name in `ImageSampler.options`."""


class SamplingFlags:
    """The flags by which pictures are asked for of a workdir; shared by all programs that draw some.

    Args:
        num_samples: how many pictures by default.
    """

    def __init__(self, num_samples: int):
        self._workdir = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
        self._num_samples = flags.DEFINE_integer("num_samples", num_samples, "Number of pictures.")
        self._label = flags.DEFINE_integer("label", None, "Class; by default all classes in equal shares.")
        self._prompts = flags.DEFINE_multi_string(
            "prompt", None, "What a text model is to draw; several times for several. Default: held-out captions."
        )
        self._prompts_file = flags.DEFINE_string("prompts_file", None, "A file of prompts, one a line.")
        self._prompts_split = flags.DEFINE_string(
            "prompts_split", "", "Whose captions are drawn where there is no prompt; default: the held-out split's."
        )
        self._samples_per_prompt = flags.DEFINE_integer(
            "samples_per_prompt", 1, "Pictures of each prompt, or of each held-out caption."
        )
        self._options = {
            name: flags.DEFINE_float(name, None, f"{usage}; default: the config's.") for name, usage in OPTIONS.items()
        }
        self._guides = flags.DEFINE_multi_string(
            "guide", [], f"{guides.USAGE}: a pull from outside. Several add up. Default: the config's; empty: none."
        )
        self._edits = {
            name: flags.DEFINE_string(name, None, f"{usage}. One edit at a time.")
            for name, usage in {**editing.USAGE, **dalle2_editing.USAGE}.items()
        }
        self._sampler = flags.DEFINE_string(
            "sampler", None, "ancestral, ddim, heun, dpmpp_2m, ...; default: the config's."
        )
        self._num_steps = flags.DEFINE_string("num_steps", None, "25, ddim25 or 10,10,3,2,2; default: the config's.")
        self._seed = flags.DEFINE_integer("seed", 0, "Seed of the noise.")
        self._keep = flags.DEFINE_float(
            "keep", 1.0, "Draw more, and keep this share: the pictures of each class that a classifier is surest of."
        )
        self._rerank = flags.DEFINE_string("rerank", None, f"{reranking.USAGE}.")

    @property
    def workdir(self) -> Path:
        """The folder of the run."""
        return Path(self._workdir.value)

    @property
    def seed(self) -> int:
        """The seed of the noise."""
        return self._seed.value

    @property
    def count(self) -> int:
        """How many pictures were asked for."""
        return self._num_samples.value

    @property
    def options(self) -> dict[str, float]:
        """The scalars that were asked for, of `OPTIONS`."""
        return {name: flag.value for name, flag in self._options.items() if flag.value is not None}

    def load(self, trajectory: bool = False) -> stages.Stage:
        """The stage in the workdir, with the sampler and the guides that were asked for."""
        edit = self._edit()
        defaults = workdir.read_config(workdir.locate(self.workdir)).sampling
        overrides: dict[str, Any] = {**(edit.sampling if edit else {})}
        if trajectory or "trajectory" in defaults:
            overrides["trajectory"] = trajectory
        if self._sampler.value:
            overrides["sampler"] = {"name": self._sampler.value}
        if self._num_steps.value:
            overrides["num_steps"] = self._num_steps.value
        stage = folders.load(self.workdir, sampling=overrides)
        asked = self._guides.value or defaults.get("guides", ())
        return guides.guide(stage, [guides.make(text, stage) for text in asked if text])

    def draw(self, stage: stages.Stage) -> images.Drawn:
        """The pictures that were asked for.

        Raises:
            ValueError: for an edit that needs a class or a prompt and has none, or flags that don't go together.
        """
        asked = self.prompts()
        edit, count = self._edit(), len(asked) if asked else self.count
        if edit and edit.one_label and stage.family.interface.num_classes and self._label.value is None:
            raise ValueError("this edit of a class-conditional model needs one class for all pictures; add --label")
        reads = getattr(stage.family.interface, "text_length", 0)
        if edit and edit.one_label and reads and len(set(asked or ())) != 1:
            raise ValueError("this edit of a text model needs one prompt for all pictures; add --prompt")
        if self._prompts_split.value and (edit or not reads):
            whose = "edits" if edit else "a model that reads no text"
            raise ValueError(f"--prompts_split names whose captions are drawn: {whose} can't use it; leave it out")
        if asked is None and reads and not edit:
            each = self._samples_per_prompt.value
            captions = prompts.for_pictures(stage, -(-count // each), split=self._prompts_split.value)
            asked = [captions[number // each] for number in range(count)]
        settings = {
            "label": self._label.value,
            "prompts": asked,
            "options": self.options,
            "seed": self.seed,
        }
        if self._rerank.value:
            return self._draw_best(stage, asked, edit, settings)
        if self._keep.value == 1:
            return images.draw(stage, count, conditions=edit.conditions(stage, count) if edit else None, **settings)
        if edit:
            raise ValueError("--keep chooses among samples, not among edits of a picture; leave one of the two out")
        return rejection.draw_best(stage, rejection.train_classifier(stage), count, self._keep.value, **settings)

    def samples(self, stage: stages.Stage, path: str | None) -> images.Drawn | None:
        """The pictures of a samples.npz, or new ones where there is no path; None of a family that draws none."""
        if path:
            return images.load_samples(Path(path))
        return self.draw(stage) if isinstance(stage.family.interface, ImageSampler) else None

    def fill_holes(self, stage: stages.Stage) -> dict[str, dict[str, float]]:
        """"holes": how well the stage fills them, see `genjax.pipelines.filling`.

        Raises:
            ValueError: for prompts, or as `filling.measure`.
        """
        if self.prompts():
            raise ValueError("holes are filled by the captions of held-out scenes: leave prompts out")
        return {"holes": filling.measure(stage, self.count, self.options, self.seed)}

    def _draw_best(self, stage: stages.Stage, asked: list[str] | None, edit, settings: dict[str, Any]) -> images.Drawn:
        """The pictures that a CLIP chooses."""
        if edit or self._keep.value != 1 or self._label.value is not None:
            raise ValueError("--rerank chooses among pictures of prompts: leave edits, --keep and --label out")
        folder, candidates = reranking.parse(self._rerank.value)
        if asked is None:
            raise ValueError("--rerank needs a model that reads text, and this one reads none")
        chosen = {name: settings[name] for name in ("options", "seed")}
        return reranking.draw_best(stage, stages.load(folder), asked, candidates, **chosen)

    def prompts(self) -> list[str] | None:
        """The prompts that were asked for, each as often as pictures of it; None if there are none.

        Raises:
            ValueError: for two ways of saying what or how many pictures, or a file without prompts.
        """
        each = self._samples_per_prompt.value
        if each < 1:
            raise ValueError(f"--samples_per_prompt={each} must be at least 1")
        found = list(self._prompts.value or [])
        if self._prompts_file.value:
            found += prompts.read_file(self._prompts_file.value)
        if found and flags.FLAGS["num_samples"].present:
            raise ValueError("the prompts say how many pictures there are: set --samples_per_prompt, not --num_samples")
        if found and self._prompts_split.value:
            raise ValueError("there are prompts: leave --prompts_split out, which draws the captions of data instead")
        return [prompt for prompt in found for _ in range(each)] or None

    def _edit(self) -> editing.Edit | None:
        """The edit that was asked for."""
        asked = {name: flag.value for name, flag in self._edits.items() if flag.value}
        if len(asked) > 1:
            raise ValueError(f"one edit at a time, not {' and '.join(f'--{name}' for name in asked)}")
        for name, text in asked.items():
            return (dalle2_editing if name in dalle2_editing.USAGE else editing).make(name, text)
        return None

    def real(self, stage: stages.Stage) -> np.ndarray:
        """As many held-out pictures, uint8, or all there are."""
        return evaluation.held_out_images(stage)[: self.count]

    def columns(self, stage: stages.Stage) -> int | None:
        """Columns of a grid: one a class where all classes are drawn."""
        return stage.family.interface.num_classes or None if self._label.value is None else None
