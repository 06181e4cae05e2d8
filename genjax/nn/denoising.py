"""Networks that denoise images, by name, and how each is called: the conditioning of an image becomes its inputs."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.conditioning.inputs import Cond
from genjax.core.arguments import ArgumentError, arg
from genjax.nn import dit, efficient_unet, unet
from genjax.typing import Image, PerExample

NETWORKS: dict[str, Any] = {"dit": dit.DiT, "efficient_unet": efficient_unet.EfficientUNet, "unet": unet.UNet}
LOGICAL_AXES = (*unet.LOGICAL_AXES, *dit.LOGICAL_AXES)


def make(name: str, **fields: Any) -> nn.Module:
    """The network of a name.

    Args:
        name: one of `NETWORKS`.
        fields: of its module.

    Raises:
        ValueError: for another name, or fields that it doesn't have.
    """
    if name not in NETWORKS:
        raise ArgumentError(f"unknown network {name!r}; {arg('network')}.name is one of {sorted(NETWORKS)}")
    known = {field.name for field in dataclasses.fields(NETWORKS[name])} - {"parent", "name"}
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise ValueError(f"the network {name} has no field {unknown[0]!r}; its fields are {sorted(known)}")
    return NETWORKS[name](**fields)


def inputs(x: Image, c_noise: PerExample, cond: Cond) -> tuple:
    """What a network is called with: x beside what is known and the low-resolution images, times, labels, levels of
    noise, and what was made of texts.

    Args:
        x: c_in * x_t.
        c_noise: the time that the network is shown.
        cond: the conditioning of the images.
    """
    beside = [channels.astype(x.dtype) for channels in (cond.known, cond.low_res) if channels is not None]
    x = jnp.concatenate([x, *beside], axis=-1) if beside else x
    return x, c_noise, cond.label, cond.aug_level, cond.context
