"""Checkpoints: bits come back, damage is noticed and set aside, never deleted; what isn't damage moves nothing."""

import errno
import json
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import sharding
from genjax.core.tree import checksum
from genjax.training import checkpoint, workdir
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints, NotSavedError, OtherStateError, UnreadableError
from genjax.training.finite import NotFiniteError
from tests.training import toy

OPTIMIZERS = {"model": optax.adam(0.1)}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(checkpoint, "PAUSES", (0, 0))


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
    restored, loader, _ = Checkpoints(tmp_path / "c").restore_newest(*targets(state))
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
        path.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "emptied": b""}[damage])
    checkpoints = Checkpoints(tmp_path / "c")
    restored, loader, _ = checkpoints.restore_newest(*targets(state))
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


def test_checksum_sees_which_array_is_which():
    one, two = jnp.arange(4.0), jnp.arange(4.0) + 1
    assert checksum({"a": one, "b": two}) != checksum({"a": two, "b": one})
    assert checksum((jnp.int32(1), jnp.int32(0), jnp.int32(0))) != checksum((jnp.int32(0), jnp.int32(0), jnp.int32(1)))
    assert checksum({"a": jnp.array([True, False])}) != checksum({"a": jnp.array([True, True])})
    assert checksum({"a": jnp.bfloat16(1.5)}) != checksum({"a": jnp.bfloat16(1.0)})


def test_a_reader_may_take_some_fields_only(tmp_path, state):
    save(tmp_path / "c", state, [7])
    checkpoints = Checkpoints(tmp_path / "c")
    restored, *_ = checkpoints.restore_newest(*targets(state), fields=("step", "ema"))
    assert restored.params == restored.opt_state == restored.extra == () and int(restored.step) == 7
    for a, b in zip(jax.tree.leaves(restored.ema), jax.tree.leaves(state.ema), strict=True):
        assert np.array_equal(a, b)
    assert checkpoints.identity(7).keys() == set(state._fields)
    checkpoints.close()


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


REFUSALS = [
    OSError(errno.EMFILE, "Too many open files"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.EIO, "Input/output error"),
    MemoryError(),
    ValueError('PERMISSION_DENIED: Error opening "zarr" driver: local file [OS error 13: EACCES Permission denied]'),
    ValueError('Error reading local file "d/1" [OS error 5: EIO Input/output error]'),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1024 bytes"),
    TypeError("unexpected keyword argument"),
]
"""What is no damage, as Python, TensorStore and XLA say it."""


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: f"{type(error).__name__}-{str(error)[:12]}")
@pytest.mark.parametrize("passes", [False, True])
def test_what_is_no_damage_is_tried_again_then_named_and_moves_nothing(tmp_path, state, monkeypatch, refusal, passes):
    save(tmp_path / "c", state, [1, 2])
    before, checkpoints, calls = listing(tmp_path), Checkpoints(tmp_path / "c"), []
    restore = checkpoints.reader.restore

    def refuse(step, **arguments):
        calls.append(step)
        if passes and len(calls) > 2:
            return restore(step, **arguments)
        raise refusal

    monkeypatch.setattr(checkpoints.reader, "restore", refuse)
    if passes:
        assert int(checkpoints.restore_newest(*targets(state))[0].step) == 2
    else:
        with pytest.raises(UnreadableError, match="checkpoint 2 in .* nothing shows that it is damaged") as error:
            checkpoints.restore_newest(*targets(state))
        assert "\n" not in str(error.value) and calls == [2, 2, 2]
    assert listing(tmp_path) == before


def test_too_many_open_files_is_no_damage(tmp_path, state):
    save(tmp_path / "c", state, [1, 2])
    before, checkpoints = listing(tmp_path), Checkpoints(tmp_path / "c")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert checkpoints.reader
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises((UnreadableError, OSError), match="Too many open files"):
            checkpoints.restore_newest(*targets(state))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert listing(tmp_path) == before
    assert int(checkpoints.restore_newest(*targets(state))[0].step) == 2


FILES = ("record/metadata", "state/_METADATA", "state/manifest.ocdbt", "state/array_metadatas/process_0")


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
@pytest.mark.parametrize("name", FILES)
def test_a_cut_or_missing_file_is_damage(tmp_path, state, name, noted):
    save(tmp_path / "c", state, [1, 2])
    if not noted:
        (tmp_path / "c" / "2" / "files.json").unlink()
    path = tmp_path / "c" / "2" / name
    path.write_bytes(path.read_bytes()[:-9])
    assert int(Checkpoints(tmp_path / "c").restore_newest(*targets(state))[0].step) == 1
    assert Checkpoints(tmp_path / "c").steps() == [1]


@pytest.mark.parametrize("name", FILES[:2])
def test_an_altered_key_is_damage_and_not_another_model(tmp_path, state, name):
    save(tmp_path / "c", state, [1, 2])
    path = tmp_path / "c" / "2" / name
    path.write_bytes(path.read_bytes().replace(b"opt_state", b"opt_sta4e"))
    assert int(Checkpoints(tmp_path / "c").restore_newest(*targets(state))[0].step) == 1


def test_a_reader_takes_the_one_before_and_moves_nothing(tmp_path, state, caplog):
    save(tmp_path / "c", state, [1, 2])
    next((tmp_path / "c" / "2" / "state" / "d").iterdir()).unlink()
    before = listing(tmp_path)
    restored, *_ = Checkpoints(tmp_path / "c", read_only=True).restore_newest(*targets(state))
    assert int(restored.step) == 1 and listing(tmp_path) == before
    assert "step 2 can't be read" in caplog.text and "nothing was moved" in caplog.text
    shutil.rmtree(tmp_path / "c" / "1" / "state")
    before = listing(tmp_path)
    with pytest.raises(ValueError, match="none of the 2 checkpoints"):
        Checkpoints(tmp_path / "c", read_only=True).restore_newest(*targets(state))
    assert listing(tmp_path) == before


def deleting(reader, monkeypatch, delete):
    """Call `delete(step)`, as the run that writes them might, between the record and the state of a checkpoint."""
    restore = reader.restore

    def restore_late(step, args):
        if "state" in args.keys():
            delete(step)
        return restore(step, args=args)

    monkeypatch.setattr(reader, "restore", restore_late)


def test_a_checkpoint_that_is_deleted_while_it_is_read_is_given_up_for_the_newest(tmp_path, state, monkeypatch, caplog):
    folder = tmp_path / "c"
    save(folder, state, [1, 2])
    shutil.move(folder / "2", tmp_path / "2")
    reader = Checkpoints(folder, read_only=True)

    def delete(step):
        if step == 1:
            shutil.move(tmp_path / "2", folder / "2")
            shutil.rmtree(folder / "1")

    deleting(reader.reader, monkeypatch, delete)
    restored, loader, sums = reader.restore_newest(*targets(state))
    assert int(restored.step) == 2 and loader == {"next_index": 2} and "can't be read" not in caplog.text
    assert sums == reader.identity(2)


def test_a_reader_gives_up_where_each_checkpoint_is_deleted_while_it_is_read(tmp_path, state, monkeypatch):
    folder = tmp_path / "c"
    save(folder, state, [1])
    reader = Checkpoints(folder, read_only=True)
    deleting(reader.reader, monkeypatch, lambda step: shutil.move(folder / f"{step}", folder / f"{step + 1}"))
    with pytest.raises(ValueError, match=r"checkpoint 5 in .* was deleted .*--config.checkpoint.keep") as error:
        reader.restore_newest(*targets(state))
    assert "\n" not in str(error.value)


def test_a_reader_needs_to_know_nothing_of_the_optimizer(tmp_path, state):
    save(tmp_path / "c", state, [7])
    other = state._replace(opt_state=())
    restored, *_ = Checkpoints(tmp_path / "c", read_only=True).restore_newest(*targets(other), ("step", "ema", "extra"))
    assert np.array_equal(restored.ema["model"]["w"], state.ema["model"]["w"])


@pytest.mark.parametrize("field", ["params", "ema"])
def test_only_finite_states_are_saved(tmp_path, state, field):
    checkpoints = Checkpoints(tmp_path / "c")
    bad = {"model": {"w": state.params["model"]["w"].at[5].set(jnp.inf)}}
    with pytest.raises(NotFiniteError, match="step 0: parameters"):
        checkpoints.save(state._replace(**{field: bad}), {})
    assert checkpoints.steps() == []


def test_a_disk_that_takes_no_more_is_one_line_and_the_last_whole_one_stays(tmp_path, state, monkeypatch):
    """Files may grow to 200 bytes only: the error of the system that comes nearest to a full disk without one."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(state, {})
    checkpoints.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(NotSavedError, match="step 1 can't be written .* last whole one is that of step 0") as error:
            checkpoints.save(state._replace(step=jnp.int32(1)), {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    checkpoints.close()
    again = Checkpoints(tmp_path / "checkpoints")
    for _ in range(100):  # the writer of the failed one may still be at work: this is the same process
        workdir.clean(tmp_path)
        if len(list((tmp_path / "checkpoints").iterdir())) == 1:
            break
        time.sleep(0.05)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"0"}, "what was half written is removed"
    assert int(again.restore_newest(*targets(state))[0].step) == 0


def test_pinned_steps_are_kept(tmp_path, state):
    checkpoints = Checkpoints(tmp_path / "c", keep=1, pinned=lambda: {2})
    for step in (1, 2, 3, 4):
        checkpoints.save(state._replace(step=jnp.int32(step)), {})
    checkpoints.close()
    assert Checkpoints(tmp_path / "c").steps() == [4, 2]


def test_files_of_a_checkpoint_are_noted(tmp_path, state):
    save(tmp_path / "c", state, [1])
    noted = json.loads((tmp_path / "c" / "1" / "files.json").read_text())
    assert noted["record/metadata"]["bytes"] == (tmp_path / "c" / "1" / "record" / "metadata").stat().st_size
