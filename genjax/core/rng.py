"""Named random streams.

Nothing random is carried in a training state: every key is `fold_in(fold_in(seed key, stream name), step)`.
Any step can therefore be replayed, a resumed run draws what the undisturbed run would have drawn, and a new
stream never shifts the numbers of another.
"""

import zlib

import jax

from genjax.typing import Array, Float, Int, Key


def stream(key: Key, name: str, step: int | Int[Array, ""] = 0) -> Key:
    """The key of the stream `name` at `step`.

    Args:
        key: the run's seed key.
        name: any string; its CRC-32 is folded in, so the stream doesn't depend on Python's hash seed.
        step: training step or other counter; may be traced.
    """
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def of_samples(key: Key, index: Int[Array, " b"]) -> Key:
    """The key [b] of each sample, by its number alone: its noise doesn't depend on the batch that it is drawn in."""
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(index)


def normal_of_samples(key: Key, index: Int[Array, " b"], shape: tuple[int, ...]) -> Float[Array, "b ..."]:
    """Standard normal noise [b, *shape] by the number of each sample, as of `of_samples`."""
    return jax.vmap(lambda own: jax.random.normal(own, shape))(of_samples(key, index))
