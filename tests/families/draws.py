"""Which random numbers a function draws: the key and shape of each draw, read from its trace; next to nothing is run.

Two draws of one key are the same numbers: noise that should be independent and isn't looks right in every single value.
Only what makes keys (folding, splitting, slicing) is computed. Of a scan or a while loop the first turn is looked at.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core


class Draw(NamedTuple):
    """One draw: the numbers of its key, the shape of what is drawn, and whether keys are made of that key too."""

    key: tuple[int, ...]
    shape: tuple[int, ...]
    is_parent: bool = False


def trace(function: Callable, *args: Any) -> Callable[..., list[Draw]]:
    """What draws of `function` depend on: arguments of the same shapes -> every draw of `function` with them."""
    flat, tree = jax.tree.flatten(args)
    closed = jax.make_jaxpr(lambda *leaves: function(*jax.tree.unflatten(tree, leaves)))(*flat)

    def found(*args):
        noted: list[tuple[Callable, tuple[int, ...] | None]] = []
        values = (*closed.consts, *jax.tree.leaves(args))
        _walk(closed.jaxpr, [lambda value=value: value for value in values], noted)
        parents = {key for made, shape in noted if shape is None for key in _rows(made())}
        drawn = [(key, shape) for made, shape in noted if shape is not None for key in _rows(made())]
        return [Draw(key, shape, key in parents) for key, shape in drawn]

    return found


def draws(function: Callable, *args: Any) -> list[Draw]:
    """Every draw of `function(*args)`; of arguments that no key depends on, shapes do."""
    return trace(function, *args)(*args)


def _rows(keys: Any) -> Iterator[tuple[int, ...]]:
    data = np.asarray(jax.random.key_data(keys))
    yield from (tuple(map(int, row)) for row in data.reshape(-1, data.shape[-1]))


def _walk(jaxpr: Any, inputs: list[Callable], found: list) -> list[Callable]:
    """Note the draws and the parents of keys of a trace whose inputs are made on demand; so are its outputs."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

    def of(atom):
        return (lambda: atom.val) if isinstance(atom, core.Literal) else known[atom]

    for eqn in jaxpr.eqns:
        operands = [of(atom) for atom in eqn.invars]
        if eqn.primitive.name == "random_bits":
            found.append((operands[0], tuple(eqn.params["shape"])))
        elif eqn.primitive.name in ("random_fold_in", "random_split"):
            found.append((operands[0], None))
        inner = _inner(eqn, operands)
        outputs = [_walk(body, given, found) for body, given in inner]
        whole = len(inner) == 1 and eqn.primitive.name not in ("scan", "while", "cond")
        made = outputs[0] if whole else _on_demand(eqn, operands)
        known.update(zip(eqn.outvars, made, strict=True))
    return [of(atom) for atom in jaxpr.outvars]


def _inner(eqn: Any, operands: list[Callable]) -> list[tuple[Any, list[Callable]]]:
    """(trace, its inputs) of each function that an equation calls."""
    params, name = eqn.params, eqn.primitive.name
    if name == "while":
        start = params["cond_nconsts"]
        return [_opened(params["body_jaxpr"], operands[start:])]
    if name == "cond":
        return [_opened(branch, operands[1:]) for branch in params["branches"]]
    if name == "scan":
        first = params["num_consts"] + params["num_carry"]
        rows = [lambda many=many: many()[0] for many in operands[first:]]
        return [_opened(params["jaxpr"], [*operands[:first], *rows])]
    called = next((params[field] for field in ("jaxpr", "call_jaxpr", "fun_jaxpr") if field in params), None)
    return [] if called is None else [_opened(called, operands)]


def _opened(called: Any, operands: list[Callable]) -> tuple[Any, list[Callable]]:
    if isinstance(called, core.ClosedJaxpr):
        return called.jaxpr, [*(lambda value=value: value for value in called.consts), *operands]
    return called, operands


def _on_demand(eqn: Any, operands: list[Callable]) -> list[Callable]:
    """The outputs of an equation, computed once when the first of them is needed."""
    kept: list = []

    def output(place):
        if not kept:
            values = [operand() for operand in operands]
            result = eqn.primitive.bind(*values, **eqn.params)
            kept.extend(result if eqn.primitive.multiple_results else [result])
        return kept[place]

    return [lambda place=place: output(place) for place in range(len(eqn.outvars))]


def repeated(found: list[Draw]) -> list[Draw]:
    """Draws that aren't the only use of their key: others have it too, or keys are made of it."""
    keys = [draw.key for draw in found]
    return [draw for draw in found if keys.count(draw.key) > 1 or draw.is_parent]
