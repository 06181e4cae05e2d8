"""Operations on pytrees of parameters."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from genjax.typing import Array, Bool, Float, PyTree


def count_params(tree: PyTree) -> int:
    """Number of scalars in a tree of arrays or of `jax.ShapeDtypeStruct` (as `jax.eval_shape` gives)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def lerp(start: PyTree, end: PyTree, weight: float | Float[Array, ""]) -> PyTree:
    """`start + weight * (end - start)`, leaf by leaf, in each leaf's own dtype."""
    return jax.tree.map(lambda a, b: (a + weight * (b - a)).astype(a.dtype), start, end)


def path_name(path: tuple) -> str:
    """A key path of `jax.tree_util` as `a/b/c`."""
    return "/".join(str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path)


def param_paths(tree: PyTree) -> list[str]:
    """The name `a/b/c` of every leaf, in flattening order."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def map_with_path(function: Callable, tree: PyTree) -> PyTree:
    """`jax.tree.map` of `function(name, leaf)` with the leaf's name as `a/b/c`."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(path_name(path), leaf), tree)


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves by their names `a/b/c`."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def differences(expected: PyTree, found: PyTree) -> dict[str, list[str]]:
    """How a tree of arrays differs from what is expected: names "missing", "unknown" and "misshapen"."""
    wanted, given = named_leaves(expected), named_leaves(found)
    both = sorted(given.keys() & wanted.keys())
    shapes = {name: (list(given[name].shape), list(wanted[name].shape)) for name in both}
    return {
        "missing": sorted(wanted.keys() - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "misshapen": [f"{name} {has}, not {needs}" for name, (has, needs) in shapes.items() if has != needs],
    }


def summary(names: Mapping[str, Sequence[str]], limit: int = 3) -> str:
    """Counts of names by kind and some of each: "5 missing (a, b, c, ..), 1 unknown (d)"; "" where there are none."""
    parts = [(kind, found, ", .." if len(found) > limit else "") for kind, found in names.items() if found]
    return ", ".join(f"{len(found)} {kind} ({', '.join(found[:limit])}{more})" for kind, found, more in parts)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether no floating-point number in the tree is NaN or infinite; True of a tree without any."""
    kinds = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in kinds], bool))


def checksum(tree: PyTree) -> Array:
    """Sum modulo 2^32, uint32 [], of the words of all leaves, each leaf's multiplied by its odd place number."""
    total = jnp.zeros((), jnp.uint32)
    for place, leaf in enumerate(jax.tree.leaves(tree)):
        width = leaf.dtype.itemsize
        bits = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
        words = jax.lax.bitcast_convert_type(bits, {1: jnp.uint8, 2: jnp.uint16}.get(width, jnp.uint32))
        total += jnp.uint32(2 * place + 1) * jnp.sum(words, dtype=jnp.uint32)
    return total
