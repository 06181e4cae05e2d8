"""The kernels that attention is computed by, and how one is chosen: before anything is traced, by platform and setting.

    xla      the plain formula of `genjax.nn.layers.attention`: anywhere, with all that it takes
    cudnn    flash attention of cuDNN (arXiv:2307.08691): NVIDIA's GPUs from compute capability 8.0, 16-bit numbers
    splash   Pallas's splash attention: TPUs; blocks of the mask in which nothing is seen are skipped
    auto     cudnn on GPUs, splash on TPUs, where they can be used and pay; else xla

Neither kernel ever holds the scores of all pairs, takes a bias, or can be differentiated forward (`jax.jvp`). Whoever
traces a network says what it may be computed by:

    step = jax.jit(kernel("auto", mesh)(step))      or      with kernel("xla"): ...

The innermost holds, and outside of all it is xla: so a function that takes a forward derivative opens `kernel("xla")`
itself. A function that was traced keeps its kernel: open it inside of what `jax.jit` is given.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from genjax.core.arguments import ArgumentError, arg
from genjax.nn.layers.heads import Heads, four_axes, padded

KERNELS = ("auto", "xla", "cudnn", "splash")
MAX_HEAD_SIZE = 128
"""Of both kernels."""
LEAST = {"cudnn": 64, "splash": 256}
"""Queries from which on "auto" takes a kernel: with fewer, all scores are small, and XLA fuses what is around them."""


class Choice(NamedTuple):
    """What attention may be computed by.

    Attributes:
        name: one of `KERNELS`.
        platform: "cpu", "gpu", "tpu".
        mesh: of the devices; None or of one device: nothing is cut.
        interpret: splash attention is interpreted, operation by operation, on any platform.
    """

    name: str = "xla"
    platform: str = "cpu"
    mesh: Mesh | AbstractMesh | None = None
    interpret: bool = False


_CHOICE: ContextVar[Choice] = ContextVar("attention kernel", default=Choice())  # noqa: B039  # it is immutable


@contextlib.contextmanager
def kernel(
    name: str, mesh: Mesh | AbstractMesh | None = None, platform: str | None = None, interpret: bool = False
) -> Iterator[None]:
    """What attention may be computed by in all that is traced within; a context, or a decorator of a function.

    Args:
        name: one of `KERNELS`.
        mesh: that the function will run on.
        platform: "cpu", "gpu" or "tpu"; None: that of the mesh's devices, without a mesh of the first device.
        interpret: interpret splash attention, to see without a TPU what it computes.

    Raises:
        ValueError: for another name.
    """
    check(name)
    if platform is None:
        platform = platform_of(mesh.devices.flat[0] if isinstance(mesh, Mesh) else jax.devices()[0])
    mark = _CHOICE.set(Choice(name, platform, mesh, interpret))
    try:
        yield
    finally:
        _CHOICE.reset(mark)


def check(name: str) -> None:
    """Nothing, for one of `KERNELS`.

    Raises:
        ValueError: for another name.
    """
    if name not in KERNELS:
        raise ArgumentError(f"unknown {arg('attention')}={name!r}; it is one of {KERNELS}")


def platform_of(device: Any) -> str:
    """The platform of a device; a GPU that has no flash attention counts as "cpu"."""
    if device.platform != "gpu":
        return device.platform
    capability = str(getattr(device, "compute_capability", ""))
    is_new = capability.replace(".", "").isdigit() and float(capability) >= 8.0
    return "gpu" if is_new else "cpu"


def current() -> Choice:
    """What attention may be computed by, here."""
    return _CHOICE.get()


def choose(q: Heads, k: Heads, v: Heads, mask: Any, bias: Any) -> Callable[..., Heads] | None:
    """The kernel of one attention, of the arguments of `genjax.nn.layers.attention.attend`; None: the plain formula.

    It is a function (q, k, v, mask, causal, scale) -> result.

    Raises:
        ValueError: if a kernel is set by name that can't be used here.
    """
    choice = current()
    name = choice.name
    if name == "auto":
        name = {"gpu": "cudnn", "tpu": "splash"}.get(choice.platform, "xla")
        fits = name != "xla" and q.shape[1] >= LEAST[name] and not _refusal(name, choice, q, k, v, mask, bias)
        return _function(name, choice) if fits else None
    reason = "" if name == "xla" else _refusal(name, choice, q, k, v, mask, bias)
    if reason:
        raise ArgumentError(f"{arg('attention')}={name!r} can't be used here: {reason}; 'auto' and 'xla' can")
    return _function(name, choice)


def _function(name: str, choice: Choice) -> Callable[..., Heads] | None:
    """A kernel by its name."""
    if name == "splash":
        from genjax.nn.layers import splash

        return partial(splash.attend, mesh=choice.mesh, interpret=choice.interpret)
    return cudnn if name == "cudnn" else None


def _refusal(name, choice, q, k, v, mask, bias) -> str:
    """Why a kernel can't compute an attention; empty if it can."""
    size = q.shape[-1]
    platform = {"cudnn": "gpu", "splash": "tpu"}[name]
    dtypes = (jnp.bfloat16, jnp.float16) if name == "cudnn" else (jnp.bfloat16, jnp.float32)
    if choice.platform != platform and not (name == "splash" and choice.interpret):
        of = "NVIDIA GPUs from compute capability 8.0" if name == "cudnn" else "TPUs"
        return f"it is for {of}, and this runs on another device"
    if bias is not None:
        return "it adds no bias to the logits"
    if not q.dtype == k.dtype == v.dtype or q.dtype not in dtypes:
        return f"it takes {' or '.join(np.dtype(dtype).name for dtype in dtypes)}, not {q.dtype}"
    if size > MAX_HEAD_SIZE or size % 8 or v.shape[-1] != size:
        return f"it takes heads of up to {MAX_HEAD_SIZE} features in multiples of 8, as many of values; not {size}"
    if name == "splash" and mask is not None and not callable(mask) and four_axes(mask).shape[1:3] != (1, 1):
        return "its masks are of keys, or functions of positions"
    return ""


def cudnn(q: Heads, k: Heads, v: Heads, mask: Any, causal: bool, scale: float) -> Heads:
    """`attend` by cuDNN; lengths are padded to multiples of 64."""
    queries, keys = q.shape[1], k.shape[1]
    q, k, v = padded(q, 64), padded(k, 64), padded(v, 64)
    settings: dict[str, Any] = {"scale": scale, "is_causal": causal, "implementation": "cudnn"}
    if mask is not None:
        seen = mask(jnp.arange(queries), jnp.arange(keys)) if callable(mask) else mask
        seen = four_axes(seen)
        seen = jnp.broadcast_to(seen, (*seen.shape[:2], queries, keys))
        # Rows of padded queries may see anything: their result is cut off.
        seen = jnp.pad(seen, ((0, 0), (0, 0), (0, q.shape[1] - queries), (0, 0)), constant_values=True)
        settings["mask"] = jnp.pad(seen, ((0, 0), (0, 0), (0, 0), (0, k.shape[1] - keys)))
    elif (q.shape[1], k.shape[1]) != (queries, keys):
        settings["query_seq_lengths"] = jnp.full(len(q), queries, jnp.int32)
        settings["key_value_seq_lengths"] = jnp.full(len(q), keys, jnp.int32)
    return jax.nn.dot_product_attention(q, k, v, **settings)[:, :queries]
