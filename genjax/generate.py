"""Drawing images in batches of bounded memory, over all devices.

Every image depends on the seed and on its own number alone, not on the batch that it is drawn in or on the number
of devices; the last batch is filled up and cut, so that there is one compilation.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from genjax import sharding
from genjax.core import images as images_lib
from genjax.families import options as options_lib
from genjax.families.interfaces import Conditions, ImageSampler, Interface, Weights
from genjax.nn.layers import kernels
from genjax.typing import Image, Key, PyTree

Progress = Callable[[int], None]


def _silent(done: int) -> None:
    """No progress is shown."""


class Drawn(NamedTuple):
    """Generated images on the host; on the devices they are `Samples`.

    Attributes:
        images: uint8 [n, h, w, c].
        labels: int32 [n], or None of an unconditional model.
        trajectory: uint8 [t, n, h, w, c] from noise to image, or None.
        prompts: the text that each was drawn for, or None of a model without text.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    prompts: tuple[str, ...] | None = None


def class_labels(count: int, num_classes: int) -> np.ndarray:
    """Labels 0, 1, ..., K-1, 0, 1, ...: all classes in equal shares, int32 [count]."""
    return np.arange(count, dtype=np.int32) % num_classes


def fit_batch_size(count: int, batch_size: int, mesh: Mesh) -> int:
    """The smallest multiple of the number of devices that holds `count` images, or else `batch_size`."""
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    return -(-min(count, batch_size) // devices) * devices


def require_sampler(interface: Interface, who: str) -> ImageSampler:
    """The interface of a family whose images are sampled without other images.

    Args:
        interface: of the family.
        who: what errors call it: "a run of the family 'clip'".

    Raises:
        ValueError: for another, with what to do instead.
    """
    if interface.sample is None:
        raise ValueError(f"{who} draws no images; {interface.instead}")
    if interface.low_res_shape is not None:
        raise ValueError(
            f"{who} upsamples images and draws none of its own: sample the whole cascade's folder, or see held-out "
            "images upsampled with --reconstruct"
        )
    return interface


def options(interface: ImageSampler, sampling: Mapping[str, Any], requested: Mapping[str, float]) -> dict[str, float]:
    """The scalars to sample with, "guidance_scale" or "truncation": as requested, else as the config says.

    Those at their neutral value are dropped, which saves their work.

    Args:
        interface: says which there are.
        sampling: `config.sampling`.
        requested: name -> value.

    Raises:
        ValueError: for an option that the model hasn't, or a value out of its range (`options_lib.OPTIONS`).
    """
    unknown = sorted(requested.keys() - interface.options.keys())
    if unknown:
        raise ValueError(f"this model has no option {unknown[0]!r}; it has {sorted(interface.options) or 'none'}")
    values = {name: requested.get(name, sampling.get(name, neutral)) for name, neutral in interface.options.items()}
    options_lib.check(values)
    return {name: value for name, value in values.items() if value != interface.options[name]}


def check_conditions(interface: ImageSampler, conditions: Conditions) -> None:
    """Nothing, for conditions that `sample` takes.

    Raises:
        ValueError: for another, which it would not heed.
    """
    known = interface.conditions
    for name, value in conditions._asdict().items():
        if value is not None and name not in (*known, "options"):
            raise ValueError(f"this model takes no condition {name!r}; it takes {sorted(known) or 'none'}")


def make_generate(interface: Interface, mesh: Mesh, attention: str = "auto") -> Callable[..., Drawn]:
    """The function (weights, count, conditions, key, batch_size, progress) -> Drawn.

    `progress` is called with the number of images of each finished batch. It compiles once for a batch size, whatever
    the seed, labels or guidance scale. `attention` is as in `make_batched`. ValueError is raised as of
    `check_conditions`.
    """

    def sample(weights, requested, key):
        images, trajectory = interface.sample(weights, *requested, key)
        by_image = None if trajectory is None else jnp.swapaxes(images_lib.to_uint8(trajectory), 0, 1)
        return images_lib.to_uint8(images), by_image

    run = make_batched(sample, mesh, attention)

    def generate(
        weights: Weights, count: int, conditions: Conditions, key: Key, batch_size: int, progress: Progress = _silent
    ) -> Drawn:
        check_conditions(interface, conditions)
        requested = (conditions, np.arange(count, dtype=np.int32))
        images, by_image = run(weights, requested, key, batch_size, progress)
        return Drawn(images, trajectory=None if by_image is None else by_image.swapaxes(0, 1))

    return generate


def make_reconstruct(
    reconstruct: Callable[[Weights, Image, Key], Image], mesh: Mesh, attention: str = "auto"
) -> Callable[..., np.ndarray]:
    """The function (weights, uint8 images [n, h, w, c], key, batch_size) -> what `reconstruct` makes of them, uint8."""

    def of_pixels(weights, images, key):
        return images_lib.to_uint8(reconstruct(weights, images_lib.from_uint8(images), key))

    return make_batched(of_pixels, mesh, attention)


def make_batched(
    function: Callable[[Weights, PyTree, Key], PyTree], mesh: Mesh, attention: str = "auto"
) -> Callable[..., PyTree]:
    """The function (weights, arrays [n, ...], key, batch_size) -> what `function` makes of them, [n, ...] on the host.

    The last batch is filled up with the last example and cut, so that there is one compilation for a batch size.
    Scalars among the arrays are the same for all examples. `progress` is called with the size of each finished batch.

    Args:
        function: (weights, a batch of the arrays, key) -> arrays with an entry for each example.
        mesh: devices.
        attention: the kernel that attention may be computed by (`genjax.nn.layers.kernels`).
    """
    jitted = jax.jit(kernels.kernel(attention, mesh)(function), out_shardings=sharding.replicated(mesh))
    place = sharding.batch_sharding(mesh)

    def run(weights: Weights, arrays: PyTree, key: Key, batch_size: int, progress: Progress = _silent) -> PyTree:
        count = next(len(leaf) for leaf in jax.tree.leaves(arrays) if np.ndim(leaf))
        batch_size, parts = fit_batch_size(count, batch_size, mesh), []
        for start in range(0, count, batch_size):
            chosen = np.minimum(np.arange(start, start + batch_size), count - 1)
            batch = jax.tree.map(lambda values, at=chosen: _placed(values, at, place), arrays)
            parts.append(jax.device_get(jitted(weights, batch, key)))
            progress(min(batch_size, count - start))
        return jax.tree.map(lambda *pieces: np.concatenate(pieces)[:count], *parts)

    return run


def _placed(values: Any, chosen: np.ndarray, place: NamedSharding) -> jax.Array:
    """The chosen of values that every process has as a global array, cut over the devices; a scalar as it is."""
    if not np.ndim(values):
        return jnp.asarray(values, jnp.float32)
    values = values[chosen]
    return jax.make_array_from_callback(values.shape, place, lambda at: values[at])
