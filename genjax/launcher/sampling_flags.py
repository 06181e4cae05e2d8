"""The flags by which samples of a workdir are requested, and what they come to."""

from pathlib import Path

from absl import flags

from genjax.core.ranges import COUNT, Range
from genjax.families.interfaces import generates
from genjax.families.options import OPTIONS
from genjax.generate import Drawn
from genjax.launcher.flags import define_number, define_path, define_seed, define_stages, given, refuse
from genjax.pipelines import evaluation, filling, folders, prompts, requests, reranking, sample_files
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.guides import registry as guides
from genjax.pipelines.requests import EDITS, SampleRequest
from genjax.pipelines.trained import Trained
from genjax.training import places, workdir

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

    def request(self, trajectory: bool = False) -> SampleRequest:
        """What the flags request.

        Raises:
            ValueError: for two ways of saying what or how many images, a file without prompts, or two edits.
        """
        return SampleRequest(
            count=self._num_samples.value,
            label=self._label.value,
            prompts=self._texts(),
            each=self._samples_per_prompt.value,
            split=self._prompts_split.value,
            options={name: flag.value for name, flag in self._options.items() if flag.value is not None},
            seed=self._seed.value,
            keep=self._keep.value,
            rerank=self._rerank.value or "",
            sampler=self._sampler.value or "",
            num_steps=self._num_steps.value or "",
            trajectory=trajectory,
            guides=tuple(self._guides.value),
            edit=self._edit(),
        )

    def load(self, trajectory: bool = False) -> Trained:
        """The run, or the chain, in the workdir, with the sampler and the guides that were requested.

        Raises:
            ValueError: for settings of sampling that such a run hasn't, and as `folders.load`.
        """
        request = self.request(trajectory)
        requests.check_named(request)
        with places.override(self._stages.value):
            nesting = folders.read(self.workdir)
            try:
                requests.overrides(workdir.read_config(nesting.workdir), request)
            except requests.UnknownSetting as error:
                raise ValueError(f"--{error}") from error
            return requests.prepare(folders.load(nesting), request)

    def draw(self, stage: Trained) -> Drawn:
        """The images that were requested.

        Raises:
            ValueError: for an edit that needs a class or a prompt and has none, or flags that don't go together.
        """
        request, reads = self.request(), stage.interface.text_length
        if request.split and (request.edit or not reads):
            whose = "edits" if request.edit else "a model that reads no text"
            raise ValueError(f"--prompts_split names whose captions are drawn: {whose} can't use it; leave it out")
        if not reads:
            refuse("this model reads no text", "samples_per_prompt")
        return requests.draw(stage, request)

    def samples(self, stage: Trained, found: Drawn | None) -> Drawn | None:
        """Those that were found in a file, or new ones where there are none; None of a family that draws none.

        Args:
            stage: of the run.
            found: what `sample_files.read` has read.

        Raises:
            ValueError: for flags of sampling where nothing is drawn, and as `draw` and `sample_files.check`.
        """
        if not given("probe_data"):
            refuse("there is no --probe_data", "probe_noise")
        walked = given("likelihood") or (stage.reconstruct and not found)
        kept = tuple(name for name in SAMPLING if name not in ("sampler", "num_steps") or not walked)
        if found:
            refuse("--samples names images that are there already", *kept)
            sample_files.check(found, stage.spec)
            return found
        if generates(stage.interface):
            return self.draw(stage)
        refuse(f"a run of the family {stage.config.family!r} draws no images", *kept)
        return None

    def fill_holes(self, stage: Trained) -> dict[str, dict[str, float]]:
        """ "holes": how well the stage fills them, see `genjax.pipelines.filling`.

        Raises:
            ValueError: for flags that mean nothing to it, or as `filling.measure`.
        """
        what = "--fill_holes fills held-out scenes by their captions: other prompts, classes and edits have no place"
        refuse(what, "label", *PROMPTS, *EDITS, *CHOICES, "samples")
        request = self.request()
        return {"holes": filling.measure(stage, request.count, request.options, request.seed)}

    def reconstruct(self, stage: Trained) -> Drawn:
        """As many held-out images as were requested, or all there are, each with its reconstruction.

        Raises:
            ValueError: for flags that mean nothing to it, or a stage that reconstructs none.
        """
        refuse(
            "--reconstruct shows held-out images, and draws none",
            *("label", *PROMPTS, *OPTIONS, *EDITS, *CHOICES, "guide", "trajectory"),
        )
        count, seed = self._num_samples.value, self._seed.value
        return sampling_lib.pairs(stage, evaluation.held_out_images(stage)[:count], seed)

    def columns(self, stage: Trained) -> int | None:
        """Columns of a grid: one a class where all classes are drawn."""
        return requests.columns(stage, self.request())

    def _texts(self) -> list[str] | None:
        """The prompts that were set; None if there are none."""
        found = list(self._prompts.value or [])
        if self._prompts_file.value:
            found += prompts.read_file(self._prompts_file.value)
        if found and given("num_samples"):
            raise ValueError("the prompts say how many images there are: set --samples_per_prompt, not --num_samples")
        if found and self._prompts_split.value:
            raise ValueError("there are prompts: leave --prompts_split out, which draws the captions of data instead")
        return found or None

    def _edit(self) -> tuple[str, str] | None:
        """Name and argument of the edit that was requested."""
        requested = {name: flag.value for name, flag in self._edits.items() if flag.value is not None}
        if len(requested) > 1:
            raise ValueError(f"one edit at a time, not {' and '.join(f'--{name}' for name in requested)}")
        return next(iter(requested.items()), None)
