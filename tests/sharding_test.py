"""Meshes, logical axes, and the coverage check."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from genjax import sharding

MESH = {"data": 1, "fsdp": 4, "tensor": 2}
RULES = ((r"dense/kernel$", ("embed", "mlp")), (r"both/kernel$", ("embed", "conv_in")))


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("params/m/dense/kernel", (64, 128), P("fsdp", "tensor")),
        ("opt_state/m/0/mu/dense/kernel", (64, 128), P("fsdp", "tensor")),
        ("params/m/dense/kernel", (63, 128), P(None, "tensor")),
        ("params/m/dense/kernel", (63, 129), P()),
        ("params/m/both/kernel", (64, 128), P("fsdp", None)),
        ("params/m/unknown", (3, 3, 64, 128), P(None, None, None, "fsdp")),
        ("params/m/unknown", (4099, 2), P(None, "tensor")),
        ("params/m/dense/bias", (128,), P()),
    ],
)
def test_partition_spec(path, shape, expected):
    assert sharding.partition_spec(path, shape, MESH, RULES) == expected


def test_mesh_fills_in_the_rest_and_refuses_the_impossible():
    assert dict(sharding.make_mesh(data=-1, fsdp=2).shape) == {"data": 4, "fsdp": 2, "tensor": 1}
    for axes in ({"data": 3}, {"data": -1, "fsdp": 3}, {"data": 16}, {"data": 0}):
        with pytest.raises(ValueError, match="doesn't fit 8 devices"):
            sharding.make_mesh(**axes)


def test_coverage_raises_and_names_the_culprit():
    mesh = sharding.make_mesh(data=2, fsdp=4)
    good = {"a": jnp.zeros((64, 64)), "small": jnp.zeros((3,))}
    assert sharding.check_coverage(good, sharding.infer(good, mesh, ())) == 1.0
    bad = {"a": jnp.zeros((64, 64)), "odd": jnp.zeros((101, 103))}
    with pytest.raises(ValueError, match=r"28% .*odd \(10,403\)"):
        sharding.check_coverage(bad, sharding.infer(bad, mesh, ()))
    alone = sharding.make_mesh(devices=jax.devices()[:1])
    assert sharding.check_coverage(bad, sharding.infer(bad, alone, ())) == 1.0
