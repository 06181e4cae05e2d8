"""Images from a trained run or chain, with labels, prompts or without, and the files that they are kept in.

`samples.npz` holds `arr_0`, uint8 NHWC, and for class-conditional models `arr_1`, int labels: the format that the
published evaluators read; for text models also `prompts`. `samples.png` is a grid of the first of them, with their
prompts, and `trajectory.gif` the way from noise to image.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from genjax import generate, sharding
from genjax.core import images as images_lib
from genjax.core.ranges import SEED
from genjax.families.interfaces import Conditions
from genjax.generate import Drawn
from genjax.pipelines import prompts as prompts_lib
from genjax.pipelines.trained import Trained

NONE = Conditions()
GRID = 100
"""Images shown in a grid, at most."""


def draw(
    stage: Trained,
    count: int,
    *,
    label: int | None = None,
    prompts: Sequence[str] | None = None,
    options: Mapping[str, float] | None = None,
    seed: int = 0,
    mesh: Mesh | None = None,
    conditions: Conditions = NONE,
    program: Callable[..., Drawn] | None = None,
) -> Drawn:
    """Sample `count` images, in batches of `config.sampling.batch_size`, with a progress bar.

    Args:
        stage: a run or a chain whose interface is an `ImageSampler`.
        count: number of images.
        label: a class; by default all classes in equal shares.
        prompts: of a text model, one for each image or fewer, which are taken in turn; by default captions of the
            held-out split.
        options: scalars that the stage's `ImageSampler.options` names, such as guidance_scale, truncation or
            temperature; by default the config's.
        seed: of the noise.
        mesh: devices; by default all.
        conditions: what else is requested of the stage's `sample`; see `pipelines.editing`. Labels and tokens among
            them are those of the images.
        program: `generate.make_generate` of its interface, kept from before, which compiles once for all calls.

    Raises:
        ValueError: for what draws no images, an unknown label, option or seed, or a prompt to a model without text.
    """
    SEED.check("seed", seed)
    interface = generate.require_sampler(stage.interface, f"a run of the family {stage.config.family!r}")
    scalars = generate.options(interface, stage.config.sampling.to_dict(), options or {})
    labels = _labels(interface.num_classes, count, label)
    conditions = conditions._replace(options=scalars)
    if conditions.label is None:
        conditions = conditions._replace(label=labels)
    texts = prompts_lib.for_images(stage, count, prompts) if conditions.tokens is None else None
    if texts is not None:
        conditions = conditions._replace(tokens=prompts_lib.tokens(stage.tokenizer, texts))
    program = program or generate.make_generate(interface, mesh or sharding.make_mesh())
    with tqdm(total=count, unit="image", disable=jax.process_index() != 0) as bar:
        drawn = program(
            stage.weights, count, conditions, jax.random.key(seed), stage.config.sampling.batch_size, bar.update
        )
    return drawn._replace(labels=labels, prompts=texts)


def _labels(classes: int, count: int, label: int | None) -> np.ndarray | None:
    """The label of each image; None of a model without classes."""
    if label is not None and not 0 <= label < classes:
        known = f"0..{classes - 1}" if classes else "none: the model is unconditional"
        raise ValueError(f"no label {label}; the labels of this model are {known}")
    if count < 1:
        raise ValueError(f"num_samples={count} must be at least 1")
    if not classes:
        return None
    return generate.class_labels(count, classes) if label is None else np.full(count, label, np.int32)


def reconstruct(
    stage: Trained,
    images: np.ndarray,
    seed: int = 0,
    mesh: Mesh | None = None,
    program: Callable[..., np.ndarray] | None = None,
) -> np.ndarray:
    """What a stage that encodes and decodes makes of images, uint8 [n, h, w, c] in and out.

    Args:
        stage: one that has a `reconstruct`.
        images: uint8 [n, h, w, c].
        seed: of random numbers in it.
        mesh: devices; by default all.
        program: `generate.make_reconstruct` of its `reconstruct`, kept from before.

    Raises:
        ValueError: for a stage that doesn't, or images of another shape.
    """
    if stage.reconstruct is None:
        raise ValueError(f"a run of the family {stage.config.family!r} encodes no images, so it can't reconstruct any")
    if images.shape[1:] != stage.spec.image_shape:
        raise ValueError(f"images of {images.shape[1:]} are no images of {stage.spec.image_shape}")
    program = program or generate.make_reconstruct(stage.reconstruct, mesh or sharding.make_mesh())
    return program(stage.weights, images, jax.random.key(seed), stage.config.data.batch_size)


def pairs(stage: Trained, images: np.ndarray, seed: int = 0) -> Drawn:
    """Images, each followed by its reconstruction."""
    both = np.stack([images, reconstruct(stage, images, seed)], axis=1)
    return Drawn(both.reshape(-1, *images.shape[1:]))


def save(folder: Path, drawn: Drawn, columns: int | None = None) -> Path:
    """Write `samples.npz`, `samples.png` and, where there is one, `trajectory.gif`; returns the grid's path."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (drawn.images,) if drawn.labels is None else (drawn.images, drawn.labels)
    shown = drawn.images[:GRID]
    if drawn.prompts is None:
        np.savez(folder / "samples.npz", *arrays)
        grid = images_lib.make_grid(shown, columns)
    else:
        np.savez(folder / "samples.npz", *arrays, prompts=np.asarray(drawn.prompts))
        grid = images_lib.make_captioned_grid(shown, drawn.prompts)
    images_lib.save_png(folder / "samples.png", grid)
    if drawn.trajectory is not None:
        images_lib.save_gif(folder / "trajectory.gif", images_lib.make_film(drawn.trajectory, columns))
    return folder / "samples.png"
