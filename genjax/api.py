"""genjax for people in a notebook: train, load, sample, measure.

    config = genjax.config("ddpm_digits:tiny", **{"training.num_steps": 100})
    run = genjax.train(config, "runs/ddpm_digits")       # or, of a folder that is there: genjax.load(...)
    run.sample(16, label="3", guidance_scale=2, num_steps=25, sampler="ddim", seed=0)
    run.evaluate()

What is drawn is a numpy array of uint8 [n, h, w, c] which shows itself as a grid. A run reads its checkpoint once and
keeps what it has compiled: another seed, label or scale costs nothing, another sampler or number of steps one
compilation. The programs `genjax-train`, `genjax-sample` and so on do the same by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from genjax import generate, sharding, stages
from genjax.core import paths
from genjax.families.interfaces import generates
from genjax.generate import Drawn
from genjax.launcher import config_files
from genjax.launcher import overrides as overrides_lib
from genjax.pipelines import chain, encoding, evaluation, folders, requests, sample_files
from genjax.pipelines import prompts as prompts_lib
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.shown import Evaluation, Images
from genjax.pipelines.trained import Trained
from genjax.training import config_check
from genjax.typing import PyTree

COUNT = 16
"""Images that are drawn, or shown, unless said otherwise."""


def config(name: str, **overrides: Any) -> ConfigDict:
    """A config that comes with genjax, or of a file: "ddpm_digits", "ddpm_digits:tiny", "my/config.py".

    Args:
        name: of the config, with a variant behind a colon.
        overrides: fields by their whole names, `**{"training.num_steps": 100}`.

    Raises:
        ValueError: for an unknown name, variant or field, or a value of another type than the field's; names what
            there is.
    """
    found = config_files.read(name)
    for field, value in overrides.items():
        overrides_lib.set_field(found, field, value)
    return found


def train(config: ConfigDict | str, workdir: str | Path, accept_changed_data: bool = False) -> Run:
    """Train a run, or a chain of runs, or go on where it stopped; one that is finished is left as it is.

    Args:
        config: as `genjax.config` gives it, or its name.
        workdir: the folder that everything goes to.
        accept_changed_data: go on also if images or captions are others than when the run began.

    Raises:
        ValueError: as `stages.train` and `chain.run`.
    """
    config = config_files.read(config) if isinstance(config, str) else config
    folder = paths.writable_folder(workdir)
    if config_check.is_chain(config):
        chain.run(config, folder, accept_changed_data)
    else:
        stages.train(config, folder, accept_changed_data)
    return Run(folder)


def load(workdir: str | Path) -> Run:
    """A trained run, or a chain of runs as one: that of a folder that `genjax.train` or a program has made.

    Raises:
        ValueError: if it is no such folder, or holds no checkpoint yet.
    """
    run = Run(workdir)
    run.stage  # noqa: B018  read now, so that what is wrong is said here
    return run


class Run:
    """A trained run. Weights are read once, when they are first needed.

    Args:
        workdir: its folder, or that of a chain.
    """

    def __init__(self, workdir: str | Path):
        self.folder = paths.local(workdir)
        self._mesh = sharding.make_mesh()
        self._samplers: dict[tuple, tuple[Trained, Callable[..., generate.Drawn] | None]] = {}
        self._programs: dict[str, Callable[..., PyTree]] = {}

    def __repr__(self) -> str:
        stage = self.stage
        return (
            f"Run({str(self.folder)!r}): {stage.config.family} on {stage.config.data.name}, step {stage.step}; "
            f"options of sampling: {', '.join(stage.interface.options) or 'none'}"
        )

    @cached_property
    def stage(self) -> Trained:
        """Interface, weights and config, for those who go on with `genjax.pipelines`."""
        return folders.load(self.folder, self._mesh)

    @property
    def config(self) -> ConfigDict:
        """What it was trained with."""
        return self.stage.config

    def sample(
        self,
        n: int | None = None,
        *,
        label: str | int | None = None,
        prompts: str | Sequence[str] | None = None,
        seed: int = 0,
        sampler: str = "",
        num_steps: int | str = "",
        trajectory: bool = False,
        guides: Sequence[str] = (),
        keep: float = 1.0,
        rerank: str = "",
        **settings: Any,
    ) -> Images:
        """Draw images.

        Args:
            n: how many, 16 unless said otherwise; of each prompt, if there are prompts, 1.
            label: a class, by its name or its number; all classes in equal shares unless said otherwise.
            prompts: texts, of a model that reads them; captions of its held-out data unless said otherwise.
            seed: of the noise. An image depends on it and on its own place alone.
            sampler: ancestral, ddim, heun, dpmpp_2m, ...; the config's unless said otherwise.
            num_steps: 25, "ddim25" or "10,10,3,2,2"; the config's unless said otherwise.
            trajectory: keep the way from noise to image, in the attribute `trajectory`.
            guides: gradients from outside, as "classifier:WORKDIR:2.0" (`genjax.pipelines.guides.registry`).
            keep: share of the drawn images that a classifier keeps.
            rerank: "WORKDIR:N", a CLIP that keeps one of N images of a prompt.
            settings: scalar options, guidance_scale, truncation, temperature, top_k, ...; or an edit, as
                `inpaint="image.png:mask.png"` (`genjax.pipelines.requests.EDITS`).

        Raises:
            ValueError: for a label, an option, a sampler or another setting that there isn't; names those there are.
        """
        request = _request(
            n or COUNT, n or 1, label=label, prompts=prompts, seed=seed, sampler=sampler, num_steps=num_steps,
            trajectory=trajectory, guides=guides, keep=keep, rerank=rerank, **settings,
        )  # fmt: skip
        stage, program = self._prepared(request)
        return Images.of(requests.draw(stage, request, program), requests.columns(stage, request))

    def _prepared(self, request: requests.SampleRequest):
        """The stage with the sampler of a request, and its compiled function; both are kept."""
        if request.compiled not in self._samplers:
            requests.check_named(request)
            stage = requests.prepare(self.stage, request)
            drawing = generates(stage.interface)
            program = generate.make_generate(stage.interface, self._mesh) if drawing else None
            self._samplers[request.compiled] = stage, program
        return self._samplers[request.compiled]

    def held_out(self, n: int = COUNT) -> Images:
        """The first images of the held-out split of its data, with their labels."""
        found = evaluation.held_out_arrays(self.stage, n)
        return Images.of(Drawn(found["image"], found.get("label"), None))

    def reconstruct(self, images: Any = None, seed: int = 0) -> Images:
        """What the model makes of images when it encodes and decodes them, or makes them small and large again.

        Args:
            images: [n, h, w, c], uint8, or floats in [0, 1] or [-1, 1]; held-out ones unless said otherwise. The
                result keeps them as `originals`, and shows each beside what became of it.
            seed: of random numbers in it, which most models have none of.

        Raises:
            ValueError: for a model that reconstructs nothing, or images of another size.
        """
        originals = np.asarray(self.held_out()) if images is None else sample_files.to_images(np.asarray(images))
        if self.stage.reconstruct and "reconstruct" not in self._programs:
            self._programs["reconstruct"] = generate.make_reconstruct(self.stage.reconstruct, self._mesh)
        program = self._programs.get("reconstruct")
        found = Images(sampling_lib.reconstruct(self.stage, originals, seed, program=program))
        found.originals = originals
        return found

    def encode(self, inputs: Any) -> PyTree:
        """What later stages are given by this model.

        Args:
            inputs: images as of `reconstruct`, or texts.

        Returns:
            Of a tokenizer the codes of each level, coarse to fine, int32 [n, h, w]; of a CLIP embeddings of length 1
            of the images or of the texts, float32 [n, d]; of a language model the features of the texts; of a model
            trained for its features, those, float32 [n, d].

        Raises:
            ValueError: for a model that encodes nothing of this kind, or images of another size.
        """
        texts = [inputs] if isinstance(inputs, str) else inputs
        kind = "texts" if len(texts) and all(isinstance(text, str) for text in texts) else "images"
        function = encoding.encoders(self.stage.interface).get(kind)
        if function is None:
            raise ValueError(
                f"a run of the family {self.config.family!r} encodes no {kind}: tokenizers, CLIPs, language models and "
                "models trained for their features do"
            )
        arrays = prompts_lib.tokens(self.stage.tokenizer, texts) if kind == "texts" else self._fitting(inputs)
        return self._call(f"encode {kind}", function, arrays)

    def likelihood(
        self,
        images: Any = None,
        *,
        kind: str = "",
        label: Any = None,
        prompts: str | Sequence[str] | None = None,
        num_steps: int | str = "",
        seed: int = 0,
    ) -> dict[str, Any]:
        """How likely images are under the model: `bits_per_dim`, and what else it measures beside that.

        Args:
            images: as of `reconstruct`; the whole held-out split unless said otherwise.
            kind: of a diffusion model "ode", exact along the steps that it samples in, or "bound", by all steps of its
                schedule; "ode" unless said otherwise. Other families have one kind, which needs no name.
            label: with images and a class-conditional model, the class of all, or of each.
            prompts: with images and a text model, the text of all, or of each.
            num_steps: of "ode"; the config's unless said otherwise.
            seed: of the noise in it.

        Returns:
            name -> value of each image [n]; of the held-out split the mean.

        Raises:
            ValueError: for a model without a likelihood, an unknown kind, or labels that are missing.
        """
        stage, _ = self._prepared(_request(num_steps=num_steps))
        kind = kind or ("ode" if "ode" in stage.interface.likelihoods else "")
        evaluate = evaluation.with_likelihood(stage, kind)
        if images is None:
            found = evaluation.held_out(stage, seed, kind)
        else:
            batch = {"image": self._fitting(images), **self._conditions(len(images), label, prompts)}
            found = self._call(f"likelihood {kind} {num_steps}", encoding.of_pixels(evaluate), batch, seed)
        if "bits_per_dim" not in found:
            raise ValueError(f"a run of the family {self.config.family!r} has no likelihood of images")
        return found

    def evaluate(
        self,
        n: int = 1000,
        *,
        samples: Any = None,
        likelihood: str = "",
        probe_data: Sequence[str] = (),
        **settings: Any,
    ) -> Evaluation:
        """Measure the run: samples against real images, and what the family itself measures on held-out ones.

        Args:
            n: images that are drawn.
            samples: images to measure instead of new ones.
            likelihood: also a diffusion model's likelihood of the held-out images, "bound" or "ode".
            probe_data: labelled datasets to probe features with.
            settings: as of `sample`.

        Raises:
            ValueError: for what the run can't be measured by, and as `sample`.
        """
        request = _request(n, **settings)
        stage, program = self._prepared(request)
        evaluation.check(stage, likelihood, probe_data)
        drawn = None
        if samples is not None:
            pixels = sample_files.to_images(np.asarray(samples))
            labels, captions = (getattr(samples, name, None) for name in ("labels", "captions"))
            drawn = Drawn(pixels, labels, None, captions)
        elif generates(stage.interface):
            drawn = requests.draw(stage, request, program)
        return Evaluation(evaluation.evaluate(stage, self.folder, drawn, 0, likelihood, probe_data))

    def _fitting(self, images: Any) -> np.ndarray:
        """Images as uint8 of the run's size."""
        pixels, shape = sample_files.to_images(np.asarray(images)), tuple(self.stage.spec.image_shape)
        if pixels.shape[1:] != shape:
            raise ValueError(f"images of {pixels.shape[1:]}, and this run's are of {shape} (height, width, channels)")
        return pixels

    def _conditions(self, count: int, label: Any, prompts: str | Sequence[str] | None) -> dict[str, np.ndarray]:
        """Labels and tokens of images, as far as the model needs them."""
        interface, found = self.stage.interface, {}
        for name, needed, value in (
            ("label", interface.num_classes, label),
            ("prompts", interface.text_length, prompts),
        ):
            if needed and value is None:
                raise ValueError(f"this model is conditional: set {name}, one for all images or one for each")
            values: list[Any] = [value] * count if np.ndim(value) == 0 else list(value)
            if needed and len(values) != count:
                raise ValueError(f"{len(values)} of {name} for {count} images: set one, or one for each")
            if needed and name == "label":
                labels = [requests.class_of(self.stage, _label(one)) for one in values]
                found["label"] = np.asarray(labels, np.int32)
            elif needed:
                found["tokens"] = prompts_lib.tokens(self.stage.tokenizer, values)
        return found

    def _call(self, name: str, function: Callable[..., PyTree], arrays: PyTree, seed: int = 0) -> PyTree:
        """What a function makes of arrays, in batches; it is compiled once."""
        if name not in self._programs:
            self._programs[name] = generate.make_batched(function, self._mesh)
        return self._programs[name](self.stage.weights, arrays, jax.random.key(seed), self.config.data.batch_size)


def _request(
    n: int = COUNT,
    each: int = 1,
    *,
    label: Any = None,
    prompts: str | Sequence[str] | None = None,
    num_steps: int | str = "",
    guides: Sequence[str] = (),
    **settings: Any,
) -> requests.SampleRequest:
    """A request as people write it: `n` images, or `each` of each prompt."""
    texts = [prompts] if isinstance(prompts, str) else prompts
    return requests.make(
        count=n, each=each if texts else 1, label=_label(label), prompts=texts, num_steps=str(num_steps),
        guides=tuple(guides), **settings,
    )  # fmt: skip


def _label(label: Any) -> str | None:
    """A class as `genjax.data.labels` reads it: a number, Python's or numpy's, is one whatever classes are named."""
    return label if label is None or isinstance(label, str) else f"id:{label}"
