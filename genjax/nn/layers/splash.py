"""Pallas's splash attention, for TPUs: flash attention (arXiv:2205.14135) that skips blocks in which nothing is seen.

It works on whole blocks of 128 positions: sequences are padded, and what is padding is another segment than what isn't.
Masks are causal, patterns of positions, which are computed in NumPy when the program is traced and kept as far as
their blocks differ, and keys that are seen in each example, as segments. XLA can't cut a Pallas kernel over devices, so
it runs inside of `jax.shard_map`: examples over `data` and `fsdp`, heads over `tensor`, where these divide them.

`genjax.nn.layers.kernels` chooses it, and imports this module when it does: Pallas takes a while to load.
"""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_lib
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_masks
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from genjax.nn.layers.heads import Heads, four_axes, padded

LANES = 128
"""Blocks are multiples of it."""
BLOCKS = (512, 384, 256, 128)
"""Sizes of blocks: the first that divides the padded length."""


def attend(
    q: Heads,
    k: Heads,
    v: Heads,
    mask: Any,
    causal: bool,
    scale: float,
    mesh: Mesh | AbstractMesh | None = None,
    interpret: bool = False,
) -> Heads:
    """`genjax.nn.layers.attention.attend`, on each device what it has of the examples and heads.

    Args:
        q, k, v, mask, causal, scale: as there; the mask is of keys, or a pattern.
        mesh: of the devices; None or of one device: nothing is cut.
        interpret: operation by operation, on any platform.
    """
    pattern = mask if callable(mask) else None
    seen = None
    if mask is not None and pattern is None:
        seen = jnp.broadcast_to(four_axes(mask)[:, 0, 0], (len(q), k.shape[1]))
    elif pattern is None and k.shape[1] % LANES:  # a pattern's mask ends with the keys
        seen = jnp.ones((len(q), k.shape[1]), bool)
    local = partial(_local, pattern=pattern, causal=causal, scale=scale, interpret=interpret)
    if mesh is None or mesh.size == 1:
        return local(q, k, v, seen)
    shape = mesh.shape
    batch = ("data", "fsdp") if len(q) % (shape["data"] * shape["fsdp"]) == 0 else None
    heads = PartitionSpec(batch, None, None if q.shape[2] % shape["tensor"] else "tensor", None)
    specs = (heads, heads, heads, PartitionSpec(batch, None))
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=heads, check_vma=False)(q, k, v, seen)


def _local(q, k, v, seen, *, pattern, causal, scale, interpret):
    """Of one device's examples and heads; `seen` [b, k] says which keys are, None: all."""
    queries, keys = q.shape[1], k.shape[1]
    q, k, v = (jnp.swapaxes(padded(part, LANES), 1, 2) for part in (q * jnp.asarray(scale, q.dtype), k, v))
    run = _kernel(pattern, causal, (queries, keys), (q.shape[2], k.shape[2]), interpret)
    if seen is None:
        return jnp.swapaxes(jax.vmap(run)(q, k, v), 1, 2)[:, :queries]
    segments = splash_lib.SegmentIds(jnp.ones(q.shape[::2], jnp.int32), padded(seen, LANES).astype(jnp.int32))
    return jnp.swapaxes(jax.vmap(run)(q, k, v, segments), 1, 2)[:, :queries]


@cache
def _kernel(pattern, causal, lengths, whole, interpret):
    """The kernel of all heads of one example.

    Args:
        pattern: which positions see which, None: all.
        causal: only up to the own position.
        lengths: of queries and keys.
        whole: the same, padded.
        interpret: see `attend`.
    """
    if pattern is not None:
        positions = np.arange(lengths[0]), np.arange(lengths[1])
        seen = np.zeros(whole, bool)
        seen[: lengths[0], : lengths[1]] = pattern(*positions)
        seen &= np.tri(*whole, dtype=bool) if causal else True
        seen[lengths[0] :, 0] = True  # a padded query has to see something
        mask = splash_masks.NumpyMask(seen)
    else:
        mask = (splash_masks.CausalMask if causal else splash_masks.FullMask)(whole)
    of_queries, of_keys = (next(block for block in BLOCKS if length % block == 0) for length in whole)
    sizes = splash_lib.BlockSizes(
        **dict.fromkeys(("block_q", "block_q_dkv", "block_q_dq"), of_queries),
        **dict.fromkeys(("block_kv", "block_kv_compute", "block_kv_dkv", "block_kv_dkv_compute"), of_keys),
        block_kv_dq=of_keys,
    )
    with jax.ensure_compile_time_eval():
        kernel = splash_lib.make_splash_mha(
            splash_masks.MultiHeadMask([mask]), block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
        )
        return jax.tree.map(np.asarray, kernel)  # constants of whatever program calls it
