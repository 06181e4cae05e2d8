"""How a run would lie on many devices, worked out on one without an array of it: for configs of any size.

    plan = make(dalle_12b.get_config(), 256, parents={"tokenizer": dvae_dalle.get_config()})
    print(describe(plan))

The state of a run is traced, not made (`jax.eval_shape`), and every array is given its place by the rules that training
uses (`genjax.sharding`), on a mesh of devices that needn't be there. What is planned is what training keeps from one
step to the next: parameters, the optimizer's state, moving averages, other state, and the frozen weights of stages.
Activations are not in it: they depend on the batch, the precision and on what is recomputed.

No data is read. Images and captions are as `config.data` describes them, classes as their datasets have them.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh
from ml_collections import ConfigDict

from genjax import sharding, stages
from genjax.core import tree as tree_lib
from genjax.data import declared
from genjax.families import registry
from genjax.families.base import Family
from genjax.training import config_check, optim
from genjax.training import state as state_lib
from genjax.typing import DataSpec, PyTree

LARGE = 2**20
"""Elements from which on an array is listed by itself."""


class Placed(NamedTuple):
    """One array and where it lies.

    Attributes:
        name: its path in the state.
        shape: its shape.
        axes: mesh axis of each dimension, None = not cut.
        shards: devices that hold different parts of it; the others hold copies.
        num_bytes: of the whole.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    shards: int
    num_bytes: int

    @property
    def bytes_per_device(self) -> int:
        """Of the part that a device holds."""
        return self.num_bytes // self.shards


class Plan(NamedTuple):
    """How a run would lie on a mesh.

    Attributes:
        mesh: axis -> number of devices.
        parameters: how many numbers are trained.
        parts: "params", "opt_state", "ema", "extra", "frozen" -> their arrays.
        coverage: share of the parameters, in arrays worth it, that is cut over `fsdp` or `tensor`.
    """

    mesh: dict[str, int]
    parameters: int
    parts: dict[str, tuple[Placed, ...]]
    coverage: float

    def bytes_per_device(self, part: str | None = None) -> int:
        """Of one part, or of all of them."""
        return sum(placed.bytes_per_device for placed in self._arrays(part))

    def num_bytes(self, part: str | None = None) -> int:
        """Of one part, or of all of them, once."""
        return sum(placed.num_bytes for placed in self._arrays(part))

    def _arrays(self, part: str | None) -> tuple[Placed, ...]:
        return sum(self.parts.values(), ()) if part is None else self.parts[part]


def make(config: ConfigDict, num_devices: int, parents: Mapping[str, ConfigDict] = MappingProxyType({})) -> Plan:
    """The plan of a run.

    Args:
        config: of the run.
        num_devices: how many there would be; `config.mesh` says how they are arranged.
        parents: configs of the stages that `config.stages` names, and of those that these name.

    Raises:
        ValueError: for a stage that is missing, a mesh that doesn't fit, or too little that is cut.
    """
    config = config_check.check(config)
    mesh = sharding.make_abstract_mesh(num_devices, **config.mesh)
    families = {name: build(parents[name], parents)[0] for name in config.get("stages", {}) if name in parents}
    family, spec = build(config, parents)
    optimizers = optim.make_optimizers(config.optimizer.to_dict(), family, config.training.num_steps)
    init = state_lib.make_init(family, optimizers, keep_ema=config.training.ema.decay > 0)
    state = jax.eval_shape(init, jax.random.key(0), stages.example_batch(spec))
    trees = {name: (getattr(state, name), family) for name in ("params", "opt_state", "ema", "extra")}
    parts = {name: place(tree, mesh, of, name) for name, (tree, of) in trees.items()}
    parts["frozen"] = sum((_frozen(families[name], parents[name], mesh, name) for name in families), ())
    coverage = sharding.check_coverage(state.params, sharding.infer(state.params, mesh, family.logical_axes))
    return Plan(dict(mesh.shape), tree_lib.count_params(state.params), parts, coverage)


def build(config: ConfigDict, parents: Mapping[str, ConfigDict]) -> tuple[Family, DataSpec]:
    """The family of a config on parents that needn't be trained, and what its data would be.

    Raises:
        ValueError: if a stage is missing, and all that the family refuses.
    """
    missing = sorted(set(config.get("stages", {})) - set(parents))
    if missing:
        raise ValueError(f"the config builds on the stage {missing[0]!r}: add its config, --parent={missing[0]}:FILE")
    interfaces = {name: build(parents[name], parents)[0].interface for name in config.get("stages", {})}
    spec = declared.spec(config.data.to_dict())
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec, interfaces), spec


def place(tree: PyTree, mesh: AbstractMesh, family: Family, part: str) -> tuple[Placed, ...]:
    """Where each array of a tree of shapes lies."""
    shardings = sharding.infer(tree, mesh, family.logical_axes)
    paths = tree_lib.param_paths(tree)
    leaves = zip(paths, jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
    return tuple(_placed(f"{part}/{path}", leaf, where) for path, leaf, where in leaves)


def _placed(name: str, leaf: Any, where: jax.sharding.NamedSharding) -> Placed:
    axes = tuple(where.spec) + (None,) * (len(leaf.shape) - len(where.spec))
    shards = math.prod(where.mesh.shape[axis] for axis in axes if axis)
    num_bytes = math.prod(leaf.shape) * (jnp.dtype(leaf.dtype).itemsize if hasattr(leaf, "dtype") else 4)
    return Placed(name, tuple(leaf.shape), axes, shards, num_bytes)


def _frozen(family: Family, config: ConfigDict, mesh: AbstractMesh, name: str) -> tuple[Placed, ...]:
    """The weights of an upstream stage."""
    batch = stages.example_batch(declared.spec(config.data.to_dict()))
    weights = jax.eval_shape(family.init, jax.random.key(0), batch)
    return place(weights, mesh, family, f"frozen/{name}")


def describe(plan: Plan) -> str:
    """A plan in words and figures, the large arrays one by one; layers of the same shape and place are one line."""
    devices = math.prod(plan.mesh.values())
    axes = ", ".join(f"{name}={size}" for name, size in plan.mesh.items())
    lines = [f"{plan.parameters:,} parameters on {devices} devices ({axes}), {plan.coverage:.1%} of them cut", ""]
    lines.append(f"{'':12}{'once':>14}{'a device':>14}{'copies':>8}")
    for part in (*plan.parts, None):
        once, each = plan.num_bytes(part), plan.bytes_per_device(part)
        if once:
            copies = f"{each * devices / once:.2f}"
            lines.append(f"{part or 'all':12}{_size(once):>14}{_size(each):>14}{copies:>8}")
    lines += ["", f"arrays of {LARGE:,} numbers or more among the parameters, and where they are cut:"]
    for (kind, shape, where), group in _groups(plan.parts["params"]).items():
        cut = " x ".join(f"{size}{f'/{axis}' if axis else ''}" for size, axis in zip(shape, where))
        lines.append(f"  {len(group):4} x {kind:40} {cut:28} {_size(group[0].bytes_per_device):>12} a device each")
    return "\n".join(lines)


def _groups(arrays: tuple[Placed, ...]) -> dict[tuple, list[Placed]]:
    """The large arrays by name, shape and place, numbers in names aside."""
    groups: dict[tuple, list[Placed]] = {}
    for placed in arrays:
        if math.prod(placed.shape) >= LARGE:
            kind = "/".join("".join("*" if c.isdigit() else c for c in piece) for piece in placed.name.split("/")[2:])
            groups.setdefault((kind.replace("**", "*"), placed.shape, placed.axes), []).append(placed)
    return groups


def _size(num_bytes: int) -> str:
    """Bytes for people."""
    size, units = float(num_bytes), ["GiB", "MiB", "KiB", "B"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:.1f} {units[-1]}"
