"""Checkpoints: bits come back, damage is noticed and set aside, never deleted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import sharding
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints, OtherStateError, checksum
from tests.training import toy

OPTIMIZERS = {"model": optax.adam(0.1)}


@pytest.fixture
def state():
    return state_lib.make_init(toy.family(size=64), OPTIMIZERS, True)(jax.random.key(0), toy.batch([0.0]))


def targets(state, devices=1):
    mesh = sharding.make_mesh(devices=jax.devices()[:devices])
    return jax.eval_shape(lambda: state), sharding.infer(state, mesh, ())


def save(folder, state, steps, keep=3):
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.save(state._replace(step=jnp.int32(step)), {"next_index": step})
    checkpoints.close()


def test_everything_comes_back_bit_for_bit(tmp_path, state):
    save(tmp_path / "c", state, [7])
    restored, loader = Checkpoints(tmp_path / "c").restore_newest(*targets(state))
    assert loader == {"next_index": 7}
    want = state._replace(step=jnp.int32(7))
    assert jax.tree.structure(restored) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(want)):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_keeps_the_newest(tmp_path, state):
    save(tmp_path / "c", state, [1, 2, 3, 4], keep=2)
    assert Checkpoints(tmp_path / "c").steps() == [4, 3]


def test_no_checkpoint_is_none_and_makes_no_folder(tmp_path, state):
    assert Checkpoints(tmp_path / "c").restore_newest(*targets(state)) is None
    assert not (tmp_path / "c").exists()


def test_half_written_newest_is_ignored(tmp_path, state):
    save(tmp_path / "c", state, [1])
    (tmp_path / "c" / "2.orbax-checkpoint-tmp-17").mkdir()
    assert int(Checkpoints(tmp_path / "c").restore_newest(*targets(state))[0].step) == 1


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "emptied"])
def test_damaged_newest_is_warned_of_skipped_and_kept(tmp_path, state, caplog, damage):
    save(tmp_path / "c", state, [1, 2])
    files = [path for path in (tmp_path / "c" / "2" / "state").rglob("d/*") if path.is_file()]
    for path in files:
        content = bytearray(path.read_bytes())
        if damage == "missing":
            path.unlink()
            continue
        if damage == "flipped":
            content[len(content) // 2] ^= 0x10
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "flipped": content, "emptied": b""}[damage]
        )
    checkpoints = Checkpoints(tmp_path / "c")
    restored, loader = checkpoints.restore_newest(*targets(state))
    assert int(restored.step) == 1 and loader == {"next_index": 1}
    assert "step 2 can't be read" in caplog.text
    assert len(list((tmp_path / "c" / "damaged").iterdir())) == 1
    checkpoints.save(state._replace(step=jnp.int32(2)), {"next_index": 2})
    checkpoints.close()
    assert Checkpoints(tmp_path / "c").steps() == [2, 1]


def test_all_damaged_is_an_error_with_the_way_out(tmp_path, state):
    save(tmp_path / "c", state, [1])
    for path in (tmp_path / "c" / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 checkpoints .* new workdir"):
        Checkpoints(tmp_path / "c").restore_newest(*targets(state))
    assert list((tmp_path / "c" / "damaged").iterdir())


def test_another_model_is_no_damage(tmp_path, state):
    save(tmp_path / "c", state, [1])
    other = state_lib.make_init(toy.family(size=65), OPTIMIZERS, True)(jax.random.key(0), toy.batch([0.0]))
    with pytest.raises(OtherStateError, match=r"params/model/w|ema/model/w"):
        Checkpoints(tmp_path / "c").restore_newest(*targets(other))
    assert Checkpoints(tmp_path / "c").steps() == [1]


def test_saved_state_is_not_changed_by_the_donated_step(tmp_path, state):
    """The asynchronous writer must hold its own copy: the step that follows reuses the buffers."""
    checkpoints = Checkpoints(tmp_path / "c", keep=20)
    bump = jax.jit(
        lambda s: s._replace(step=s.step + 1, params=jax.tree.map(lambda x: x + 1, s.params)),
        donate_argnums=0,
    )
    for _ in range(10):
        checkpoints.save(state, {})
        state = bump(state)
    checkpoints.close()
    for step in range(10):  # restore compares the checksum taken at the time
        Checkpoints(tmp_path / "c", keep=20).restore(step, *targets(state))


def test_checksum_sees_one_bit_and_not_the_sharding():
    values = jnp.arange(4096.0).reshape(64, 64)
    base = checksum({"a": values, "b": jnp.int32(3)})
    for other in ({"a": values.at[3, 5].add(1e-3), "b": jnp.int32(3)}, {"a": values, "b": jnp.int32(4)}):
        assert base != checksum(other)
    mesh = sharding.make_mesh(data=4, fsdp=2)
    cut = jax.device_put(values, sharding.infer(values, mesh, ()))
    assert len(cut.sharding.device_set) == 8 and jax.jit(checksum)({"a": cut, "b": jnp.int32(3)}) == base


def test_a_reader_may_take_some_fields_only(tmp_path, state):
    save(tmp_path / "c", state, [7])
    checkpoints = Checkpoints(tmp_path / "c")
    restored, _ = checkpoints.restore_newest(*targets(state), fields=("step", "ema"))
    assert restored.params == restored.opt_state == restored.extra == () and int(restored.step) == 7
    for a, b in zip(jax.tree.leaves(restored.ema), jax.tree.leaves(state.ema), strict=True):
        assert np.array_equal(a, b)
    assert checkpoints.identity(7).keys() == set(state._fields)
    checkpoints.close()
