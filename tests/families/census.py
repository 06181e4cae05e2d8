"""What a family's settings reach, seen in what JAX traces of it: nothing is compiled and nothing computed.

A *place* is one function of a family: "init", "loss" (of all players), "evaluate", "sample", or one of its interface,
by its name there. Its fingerprint is the text of its jaxpr with all constants, so that a setting that reaches it, be it
as a shape, a branch or a number, changes the fingerprint.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from genjax import generate
from genjax.families import registry
from genjax.families.base import Family
from genjax.families.interfaces import Conditions, Weights
from genjax.typing import DataSpec
from tests.families import losses

COUNT = 2
"""Examples of a batch."""


class Case(NamedTuple):
    """A config small enough to be traced in a moment, and what it is built on.

    Attributes:
        config: fields as in `configs/`.
        spec: what its data would be.
        parents: interfaces of the upstream stages, by name.
        frozen: their weights.
        extra_batch: entries of a batch beside image, label and tokens.
    """

    config: ConfigDict
    spec: DataSpec
    parents: Mapping[str, Any] = {}
    frozen: Mapping[str, Weights] = {}
    extra_batch: Mapping[str, Any] = {}


def build(case: Case) -> Family:
    """The family of a case."""
    model, sampling = case.config.model.to_dict(), case.config.sampling.to_dict()
    return registry.build(case.config.family, model, sampling, case.spec, case.parents)


def changed(case: Case, path: str, value: Any) -> Case:
    """The case with another value at `path`, as "model.network.width"."""
    config = ConfigDict(case.config.to_dict())
    *way, last = path.split(".")
    with config.unlocked():
        node = config
        for name in way:
            node = node[name]
        if isinstance(value, Mapping):
            value = ConfigDict(value)
        elif last in node and not isinstance(value, type(node[last])):
            del node[last]
        node[last] = value
    return case._replace(config=config)


def batch_of(case: Case) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch."""
    batch = {"image": jax.ShapeDtypeStruct((COUNT, *case.spec.image_shape), jnp.float32)}
    if case.spec.num_classes:
        batch["label"] = jax.ShapeDtypeStruct((COUNT,), jnp.int32)
    if case.spec.text_length:
        batch["tokens"] = jax.ShapeDtypeStruct((COUNT, case.spec.text_length), jnp.int32)
    return {**batch, **case.extra_batch}


def conditions_of(case: Case, family: Family) -> tuple[Conditions, dict[str, jax.Array]]:
    """(what each sample is conditioned on, the scalars that the config's sampling settings make)."""
    interface, each = family.interface, Conditions()
    if interface.num_classes:
        each = each._replace(label=jax.ShapeDtypeStruct((COUNT,), jnp.int32))
    if interface.text_length:
        each = each._replace(tokens=jax.ShapeDtypeStruct((COUNT, interface.text_length), jnp.int32))
    if interface.low_res_shape:
        each = each._replace(low_res=jax.ShapeDtypeStruct((COUNT, *interface.low_res_shape), jnp.float32))
    scalars = generate.options(interface, case.config.sampling.to_dict(), {})
    return each, {name: jnp.asarray(value, jnp.float32) for name, value in scalars.items()}


def weights_of(case: Case) -> Weights:
    """The shapes of a case's weights."""
    return Weights(*jax.eval_shape(build(case).init, jax.random.key(0), batch_of(case)), dict(case.frozen))


def places(case: Case, weights: Callable[[], Weights] | None = None) -> dict[str, Callable[[], str]]:
    """Place -> what gives its fingerprint; `weights` gives those of a case with the same ones, if they are known."""
    family, batch, key = build(case), batch_of(case), jax.random.key(0)
    fresh = weights or cache(lambda: weights_of(case))

    def loss(params, extra, frozen, batch, step):
        how = {"extra": extra, "frozen": frozen, "step": step}
        return [losses.compute(family, params, batch, key, player=player.name, **how) for player in family.players]

    step = jax.ShapeDtypeStruct((), jnp.int32)
    found = {
        "init": lambda: fingerprint(family.init, key, batch),
        "loss": lambda: fingerprint(loss, *fresh()[:2], case.frozen, batch, step),
        "evaluate": lambda: fingerprint(family.evaluate, fresh(), batch, key),
        "players": lambda: repr([(player.name, player.every) for player in family.players]),
    }
    found |= _interface(case, family, fresh, batch, key)
    if family.reconstruct:
        found["reconstruct"] = lambda: fingerprint(family.reconstruct, fresh(), batch["image"], key)
    return found


def _interface(case: Case, family: Family, fresh: Callable[[], Weights], batch, key) -> dict[str, Callable[[], str]]:
    """The places of its interface."""
    interface, found = family.interface, {}
    image, t = batch["image"], jax.ShapeDtypeStruct((COUNT,), jnp.float32)
    arguments = {
        "log_prob": (image, t, batch.get("label")),
        "encode_image": (image, t if getattr(interface, "schedule", None) else None),
        "encode_text": (batch.get("tokens"),),
        "logit_scale": (),
        "features": (image,),
        "logits": (image,),
        "encode": (batch.get("tokens", image),),
    }
    for name, given in arguments.items():
        if getattr(interface, name, None):
            found[name] = lambda name=name, given=given: fingerprint(getattr(interface, name), fresh(), *given)
    if hasattr(interface, "grids"):
        codes = tuple(jax.ShapeDtypeStruct((COUNT, *grid), jnp.int32) for grid in interface.grids)
        found["encode"] = lambda: fingerprint(interface.encode, fresh(), image)
        found["decode"] = lambda: fingerprint(interface.decode, fresh(), codes)
    if interface.sample or interface.sample_embeddings:
        each, scalars = conditions_of(case, family)
        found |= _drawing(interface, fresh, each, scalars, image, key)
    for name, likelihood in interface.likelihoods.items():
        found[name] = lambda likelihood=likelihood: fingerprint(likelihood, fresh(), batch, key)
    return found


def _drawing(interface, fresh, each, scalars, image, key) -> dict[str, Callable[[], str]]:
    """The ways to draw: "sample", and of a diffusion model also "fill" what is erased and "edit" an image."""

    index = jax.ShapeDtypeStruct((COUNT,), jnp.int32)

    def draw(weights, each, index):
        run = interface.sample or interface.sample_embeddings
        return run(weights, each._replace(options=scalars), index, key)

    found = {"sample": lambda: fingerprint(draw, fresh(), each, index)}
    if interface.guidable:
        mask = jax.ShapeDtypeStruct((*image.shape[:-1], 1), jnp.float32)
        found["fill"] = lambda: fingerprint(draw, fresh(), each._replace(known=image, mask=mask), index)
        found["edit"] = lambda: fingerprint(draw, fresh(), each._replace(source=image), index)
        found["invert"] = lambda: fingerprint(
            lambda weights, given, index: interface.invert(weights, given, index, key),
            fresh(),
            each._replace(source=image),
            index,
        )
    return found


def fingerprint(function: Callable, *args: Any) -> str:
    """A digest of all that is traced of a function: its operations, their parameters and all constants."""
    digest = hashlib.sha256()
    _digest(jax.make_jaxpr(function)(*args), digest)
    return digest.hexdigest()


def _digest(closed, digest) -> None:
    """What `str` of a jaxpr says and its constants, without the printer of JAX, which takes longer than the tracing."""
    names: dict[Any, int] = {}

    def name(atom) -> str:
        """Variables by the order in which they come, literals by their value."""
        if hasattr(atom, "val"):
            return f"{atom.val!r}:{atom.aval.str_short()}"
        return f"{names.setdefault(atom, len(names))}:{atom.aval.str_short()}"

    jaxpr = getattr(closed, "jaxpr", closed)
    digest.update(repr([name(atom) for atom in (*jaxpr.constvars, *jaxpr.invars)]).encode())
    for constant in getattr(closed, "consts", ()):
        digest.update(_bytes(constant))
    for equation in jaxpr.eqns:
        atoms = [[name(atom) for atom in part] for part in (equation.invars, equation.outvars)]
        digest.update(f"{equation.primitive} {atoms}".encode())
        for key, value in sorted(equation.params.items()):
            digest.update(key.encode())
            for leaf in jax.tree.leaves(value, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "consts")):
                if hasattr(leaf, "eqns"):
                    _digest(leaf, digest)
                else:
                    digest.update(re.sub(r"0x[0-9a-f]+", "", repr(leaf)).encode())
    digest.update(repr([name(atom) for atom in jaxpr.outvars]).encode())


def _bytes(value: Any) -> bytes:
    if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return np.asarray(value).tobytes()
