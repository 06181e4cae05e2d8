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
    with pytest.raises(ValueError, match="28% "):
        sharding.check_coverage(bad, sharding.infer(bad, sharding.make_mesh(data=4, tensor=2), ()))
    alone = sharding.make_mesh(devices=jax.devices()[:1])
    assert sharding.check_coverage(bad, sharding.infer(bad, alone, ())) == 1.0


def test_batches_are_cut_over_data_and_fsdp_together_and_tensor_sees_all():
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    batch = jax.device_put(jnp.arange(8.0), sharding.batch_sharding(mesh))
    rows = {shard.device.id: tuple(shard.data.tolist()) for shard in batch.addressable_shards}
    assert sorted(rows.values()) == sorted(2 * [(0, 1), (2, 3), (4, 5), (6, 7)])
    assert all(len({rows[device.id] for device in across}) == 1 for across in mesh.devices.reshape(4, 2))
    assert sharding.replicated(mesh).is_fully_replicated


def test_a_mesh_may_be_thought_of_and_has_one_axis_to_fill_in():
    assert dict(sharding.make_abstract_mesh(64, data=-1, fsdp=4, tensor=2).shape) == {"data": 8, "fsdp": 4, "tensor": 2}
    assert dict(sharding.make_abstract_mesh(6, data=1, fsdp=-1, tensor=3).shape) == {"data": 1, "fsdp": 2, "tensor": 3}
    for axes in ({"data": -1, "fsdp": -1}, {"data": 2, "fsdp": 2}, {"data": -2, "fsdp": -2, "tensor": 2}):
        with pytest.raises(ValueError, match="doesn't fit 8 devices"):
            sharding.make_abstract_mesh(8, **axes)


def test_small_arrays_stay_whole_and_rules_of_one_device_do_not_hold():
    one = {"data": 4, "fsdp": 1, "tensor": 2}
    assert sharding.MIN_SIZE == 4096
    assert sharding.partition_spec("a/dense/kernel", (64, 63), MESH, RULES) == P()
    assert sharding.partition_spec("a/dense/kernel", (64, 64), MESH, RULES) == P("fsdp", "tensor")
    assert sharding.partition_spec("a/dense/kernel", (64, 128), one, RULES) == P(None, "tensor")
    assert sharding.partition_spec("a/unknown", (64, 256), one, ()) == P(None, "tensor")
    assert sharding.partition_spec("a/unknown", (128, 128), MESH, ()) == P("fsdp", None)
    first = ((r"kernel$", ("conv_in", None)), (r"dense/kernel$", (None, "mlp")))
    assert sharding.partition_spec("a/dense/kernel", (64, 128), MESH, first) == P("fsdp", None), "the first rule holds"
    assert sharding.partition_spec("a/dense/kernel", (2, 64, 128), MESH, RULES) == P(None, None, "fsdp")


def test_nine_tenths_have_to_be_cut():
    mesh = sharding.make_mesh(data=2, fsdp=4)
    enough = {"a": jnp.zeros((64, 10 * 64)), "odd": jnp.zeros((63, 67))}
    share = sharding.check_coverage(enough, sharding.infer(enough, mesh, ()))
    assert share == pytest.approx(40_960 / (40_960 + 4_221))
    with pytest.raises(ValueError, match="only 91% .*, less than 95%"):
        sharding.check_coverage(enough, sharding.infer(enough, mesh, ()), minimum=0.95)
