"""One mesh, one table from logical to mesh axes, and shardings inferred for any tree of parameters.

Each file of `nn/` states `LOGICAL_AXES = [(path regex, axis names)]` for its parameters. `RULES` says on which mesh
axis each logical axis lies. A parameter that no rule shards falls back to its largest dimension that the `fsdp` axis
divides; small ones are replicated. `check_coverage` raises when too little of a model ends up sharded: a mistake
that would otherwise show only as memory running out on a pod.

Batches are cut along `data` and `fsdp` together. Parameters stay plain arrays; axes are of type Auto, so that XLA
places the collectives.
"""

import math
import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from genjax.core import tree as tree_lib
from genjax.typing import PyTree

AXES = ("data", "fsdp", "tensor")
BATCH_SPEC = PartitionSpec(("data", "fsdp"))
RULES = {
    "embed": "fsdp",
    "conv_in": "fsdp",
    "conv_out": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
}
MIN_SIZE = 4096
"""Arrays with fewer elements are replicated: sharding them costs more than it saves."""

LogicalAxes = Sequence[tuple[str, tuple[str | None, ...]]]


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The device mesh, with axes `data`, `fsdp`, `tensor`.

    Args:
        data, fsdp, tensor: devices along each axis; one of them may be -1, for all the rest.
        devices: by default all of them, of all processes.

    Raises:
        ValueError: if the axes don't multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = _mesh_shape(data, fsdp, tensor, len(devices))
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def make_abstract_mesh(num_devices: int, data: int = -1, fsdp: int = 1, tensor: int = 1) -> AbstractMesh:
    """A mesh of devices that needn't be there, to see how things would lie on it; axes as of `make_mesh`."""
    return AbstractMesh(_mesh_shape(data, fsdp, tensor, num_devices), AXES, axis_types=(AxisType.Auto,) * 3)


def _mesh_shape(data: int, fsdp: int, tensor: int, num_devices: int) -> tuple[int, int, int]:
    """The sizes of the three axes, with what -1 stands for."""
    shape = [data, fsdp, tensor]
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known > 0 and num_devices % known == 0:
        shape[shape.index(-1)] = num_devices // known
    if math.prod(shape) != num_devices or min(shape) < 1:
        raise ValueError(
            f"config.mesh data={data}, fsdp={fsdp}, tensor={tensor} doesn't fit {num_devices} devices; "
            "the product must equal their number (one axis may be -1)"
        )
    return shape[0], shape[1], shape[2]


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a value that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: its first axis over `data` and `fsdp`."""
    return NamedSharding(mesh, BATCH_SPEC)


def partition_spec(
    path: str, shape: tuple[int, ...], mesh_shape: Mapping[str, int], logical_axes: LogicalAxes
) -> PartitionSpec:
    """Where one array lies: by the first rule whose regex finds its path, else by its largest divisible axis.

    Args:
        path: its name, `a/b/c`; the optimizer's moments end in the name of their parameter, so rules hold for them.
        shape: its shape.
        mesh_shape: mesh axis -> number of devices.
        logical_axes: (regex, axis names) pairs.
    """
    if math.prod(shape) < MIN_SIZE:
        return PartitionSpec()
    for pattern, names in logical_axes:
        if len(names) == len(shape) and re.search(pattern, path):
            spec = _mapped(names, shape, mesh_shape)
            if any(spec):
                return PartitionSpec(*spec)
    return _largest_axis(shape, mesh_shape)


def _mapped(names, shape, mesh_shape) -> list[str | None]:
    """Mesh axis of each dimension by `RULES`, dropping axes of one device, uneven cuts and repeats."""
    spec: list[str | None] = []
    for name, size in zip(names, shape):
        axis = RULES.get(name) if name else None
        usable = axis and mesh_shape[axis] > 1 and size % mesh_shape[axis] == 0 and axis not in spec
        spec.append(axis if usable else None)
    return spec


def _largest_axis(shape, mesh_shape) -> PartitionSpec:
    """Cut the largest dimension that `fsdp`, else `tensor`, divides."""
    for axis in ("fsdp", "tensor"):
        sizes = [size if size % mesh_shape[axis] == 0 else 0 for size in shape]
        if mesh_shape[axis] > 1 and max(sizes) > 0:
            return PartitionSpec(*[axis if i == int(np.argmax(sizes)) else None for i in range(len(shape))])
    return PartitionSpec()


def infer(tree: PyTree, mesh: Mesh | AbstractMesh, logical_axes: LogicalAxes) -> PyTree:
    """A `NamedSharding` for each leaf of `tree` (arrays or `jax.ShapeDtypeStruct`)."""
    return tree_lib.map_with_path(
        lambda path, leaf: NamedSharding(mesh, partition_spec(path, leaf.shape, mesh.shape, logical_axes)),
        tree,
    )


def check_coverage(tree: PyTree, shardings: PyTree, minimum: float = 0.9) -> float:
    """The share of elements, in arrays of at least `MIN_SIZE`, that is really cut over `fsdp` or `tensor`.

    Raises:
        ValueError: if the mesh has such an axis and the share is below `minimum`; names the largest culprits.
    """
    total, uncovered = 0, []
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for (path, leaf), sharding in zip(leaves, jax.tree.leaves(shardings), strict=True):
        size = math.prod(leaf.shape)
        if sharding.mesh.shape["fsdp"] * sharding.mesh.shape["tensor"] == 1:
            return 1.0
        if size >= MIN_SIZE:
            total += size
            if not any(sharding.spec):
                uncovered.append((size, tree_lib.path_name(path)))
    share = 1.0 - sum(size for size, _ in uncovered) / max(total, 1)
    if share < minimum:
        largest = ", ".join(f"{name} ({size:,})" for size, name in sorted(uncovered, reverse=True)[:3])
        raise ValueError(
            f"only {share:.0%} of the parameters are sharded, less than {minimum:.0%}; not cut: {largest}. "
            "Choose mesh sizes that divide their dimensions, or add their axes to LOGICAL_AXES"
        )
    return share
