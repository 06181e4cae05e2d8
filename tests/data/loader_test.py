"""Batches: the same for any number of processes and workers, resumed exactly, every example in its turn."""

import hashlib
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import threading
import time

import grain
import ml_collections
import numpy as np
import pytest
from PIL import Image

from genjax.data import examples, loader, sources, transforms

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def digits(data_dir) -> dict:
    return {"name": "digits", "image_size": 8, "channels": 1, "batch_size": 52, "data_dir": data_dir}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> dict:
    """Twelve images of several sizes, with classes and captions, to be cropped at random and flipped."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(12):
        path = folder / f"{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(exist_ok=True)
        height, width = rng.integers(10, 40, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        path.with_suffix(".txt").write_text("\n".join(f"{number} line {n}" for n in range(1 + number % 3)))
    return {
        "name": f"folder:{folder}",
        "split": "all",
        "eval_split": "all",
        "image_size": 8,
        "batch_size": 4,
        "crop": "random",
        "flip": True,
    }


def draw(settings: dict, count: int, seed: int = 0, **options) -> list[dict]:
    with loader.Data(settings).train_iterator(seed, **options) as batches:
        return [next(batches) for _ in range(count)]


def digest(batches: list[dict]) -> str:
    code = hashlib.sha256()
    for batch in batches:
        for key in sorted(batch):
            code.update("|".join(batch[key]).encode() if key == "text" else batch[key].tobytes())
    return code.hexdigest()


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])


def test_describe(digits, photos):
    spec = loader.Data(digits | {"image_size": 16, "channels": 3}).spec
    assert spec.image_shape == (16, 16, 3) and spec.num_classes == 10 and spec.num_examples == 1352
    spec = loader.Data(photos).spec
    assert spec.image_shape == (8, 8, 3) and spec.class_names == ("a", "b") and spec.has_text
    assert spec.num_examples == 12


def test_settings_may_be_a_config(digits):
    config = ml_collections.ConfigDict(digits | {"flip": False, "num_workers": 0, "split": "train"})
    assert loader.Data(config).spec == loader.Data(digits).spec
    assert_same(draw(config, 1), draw(digits, 1))


def test_batches_hold_what_they_should(digits, photos):
    batch = draw(digits, 1)[0]
    assert set(batch) == {"image", "label"}
    assert batch["image"].shape == (52, 8, 8, 1) and batch["image"].dtype == np.float32
    assert batch["image"].min() == -1.0 and batch["image"].max() == 1.0
    assert batch["label"].shape == (52,) and batch["label"].dtype == np.int32
    batch = draw(photos, 1)[0]
    assert set(batch) == {"image", "label", "text"}
    assert batch["image"].shape == (4, 8, 8, 3)
    assert batch["text"].shape == (4,) and all(type(text) is str for text in batch["text"])


def test_an_epoch_is_every_example_once_unchanged_and_in_a_new_order(digits):
    arrays = loader.Data(digits).load_arrays("train")
    known = sorted(image.tobytes() + bytes([label]) for image, label in zip(arrays["image"], arrays["label"]))
    epochs = [draw(digits, 52)[:26], draw(digits, 52)[26:]]
    orders = []
    for epoch in epochs:
        images = np.concatenate([batch["image"] for batch in epoch])
        labels = np.concatenate([batch["label"] for batch in epoch])
        pixels = np.round((images + 1) * 127.5).astype(np.uint8)
        orders.append([image.tobytes() + bytes([label]) for image, label in zip(pixels, labels)])
        assert sorted(orders[-1]) == known
    assert orders[0] != orders[1] and orders[0] != known


def test_the_seed_decides(photos):
    first = draw(photos, 4, seed=3)
    assert_same(first, draw(photos, 4, seed=3))
    assert digest(first) != digest(draw(photos, 4, seed=4))


@pytest.mark.parametrize("processes", [2, 4])  # 4 leaves batches of one
def test_the_global_batch_is_the_same_for_any_number_of_processes(photos, processes):
    alone = draw(photos, 9)
    parts = [draw(photos, 9, process_index=p, process_count=processes) for p in range(processes)]
    joined = [{key: np.concatenate([batch[key] for batch in step]) for key in step[0]} for step in zip(*parts)]
    assert_same(alone, joined)


def test_crops_flips_and_captions_change_from_epoch_to_epoch(photos):
    seen = {}
    for batch in draw(photos, 30):
        for image, text in zip(batch["image"], batch["text"]):
            seen.setdefault(text.split()[0], []).append((image.tobytes(), text))
    assert sorted(map(int, seen)) == list(range(12))
    for number, views in seen.items():
        assert len(views) == 10 and len({image for image, _ in views}) > 5
        assert len({text for _, text in views}) == 1 + int(number) % 3


def test_flip_is_off_unless_requested(photos):
    plain = photos | {"flip": False, "crop": "center"}
    whole = {image.tobytes() for image in transforms.to_float(loader.Data(plain).load_arrays()["image"])}
    for batch in draw(plain, 6):
        assert {image.tobytes() for image in batch["image"]} <= whole
    flipped = [image.tobytes() in whole for batch in draw(plain | {"flip": True}, 30) for image in batch["image"]]
    assert 35 < sum(flipped) < 85


@pytest.mark.parametrize("position", [0, 1, 7])
def test_state_is_restored_exactly(photos, position):
    with loader.Data(photos).train_iterator(0) as batches:
        for _ in range(position):
            next(batches)
        state = json.loads(json.dumps(batches.get_state()))
        assert state == {"next_index": position}
        expected = [next(batches) for _ in range(5)]
        batches.set_state(state)
        assert_same(expected, [next(batches) for _ in range(5)])
    with loader.Data(photos).train_iterator(0) as fresh:
        fresh.set_state(state)
        assert fresh.get_state() == state
        assert_same(expected, [next(fresh) for _ in range(5)])
        with pytest.raises(ValueError, match="next_index must be 0 or more, not -1"):
            fresh.set_state({"next_index": -1})


def test_a_fresh_process_goes_on_exactly(photos):
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from tests.data import loader_test as t\n"
        "from genjax.data import loader\n"
        "with loader.Data(json.loads(sys.argv[2])).train_iterator(5) as batches:\n"
        "    batches.set_state({'next_index': 6})\n"
        "    print(t.digest([next(batches) for _ in range(4)]))"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, str(ROOT), json.dumps(photos)]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert output.stdout.strip() == digest(draw(photos, 10, seed=5)[6:]), output.stderr


def test_grain_checkpoints_take_the_iterator(photos, tmp_path):
    with loader.Data(photos).train_iterator(0) as batches:
        next(batches)
        grain.checkpoint.CheckpointHandler().save(_epath(tmp_path), batches)
        expected = next(batches)
    with loader.Data(photos).train_iterator(0) as fresh:
        grain.checkpoint.CheckpointHandler().restore(_epath(tmp_path), fresh)
        assert_same([expected], [next(fresh)])


def _epath(path):
    from etils import epath

    return epath.Path(path)


def threads_and_children() -> set:
    """Those of now: a set, since one of an earlier test may end while this one runs."""
    return {*threading.enumerate(), *multiprocessing.active_children()}


def wait_for(condition, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_closing_ends_all_threads(photos):
    before = threads_and_children()
    for _ in range(5):
        batches = loader.Data(photos).train_iterator(0)
        next(batches)
        batches.set_state({"next_index": 3})
        next(batches)
        batches.close()
        batches.close()
    assert wait_for(lambda: threads_and_children() <= before)
    with pytest.raises(ValueError, match="closed"):
        next(batches)


def test_reading_ahead_is_by_as_many_threads_as_the_settings_say(photos, monkeypatch):
    made = []
    monkeypatch.setattr(loader.grain, "ReadOptions", lambda **how: made.append(how))
    loader.Data(photos | {"read_threads": 3}).train_iterator(0)
    assert made == [{"num_threads": 3, "prefetch_buffer_size": 6}]


def test_an_iterator_that_is_never_used_starts_nothing(photos):
    before = threads_and_children()
    loader.Data(photos).train_iterator(0).close()
    assert threads_and_children() <= before


@pytest.mark.slow
def test_worker_processes_give_the_same_batches_and_end(photos):
    photos = photos | {"tokenizer": BPE | {"dropout": 0.5}}
    expected = draw(photos, 12)
    with loader.Data(photos | {"num_workers": 2}).train_iterator(0) as batches:
        assert_same(expected[:5], [next(batches) for _ in range(5)])
        assert batches.get_state() == {"next_index": 5}
        batches.set_state({"next_index": 8})
        assert_same(expected[8:10], [next(batches) for _ in range(2)])
        assert multiprocessing.active_children()
        state = batches.get_state()
    assert wait_for(lambda: not multiprocessing.active_children())
    for workers, threads in ((0, 1), (3, 2)):
        with loader.Data(photos | {"num_workers": workers, "read_threads": threads}).train_iterator(0) as batches:
            batches.set_state(state)
            assert_same(expected[10:], [next(batches) for _ in range(2)])
    halves = [draw(photos | {"num_workers": 1}, 3, process_index=p, process_count=2) for p in (0, 1)]
    for whole, one, other in zip(expected, *halves):
        np.testing.assert_array_equal(whole["image"], np.concatenate([one["image"], other["image"]]))


def test_a_killed_worker_is_one_line_at_once_and_the_place_is_kept(photos):
    expected = draw(photos, 8)
    with loader.Data(photos | {"num_workers": 1}).train_iterator(0) as batches:
        next(batches)
        for worker in multiprocessing.active_children():
            worker.kill()
        start = time.monotonic()
        with pytest.raises(loader.WorkerDied, match="died .SIGKILL., most likely .* memory.*num_workers") as error:
            for _ in range(7):
                next(batches)
        assert time.monotonic() - start < 60 and "\n" not in str(error.value)
        place = batches.get_state()
        batches.set_state(place)
        assert_same(expected[place["next_index"] :][:1], [next(batches)])
    assert wait_for(lambda: not multiprocessing.active_children(), 30)


def test_workers_end_when_their_parent_is_killed(photos):
    code = (
        "import json, multiprocessing, os, signal, sys\n"
        "from genjax.data import loader\n"
        "if __name__ == '__main__':\n"
        "    batches = loader.Data(json.loads(sys.argv[1])).train_iterator(0)\n"
        "    next(batches)\n"
        "    print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, json.dumps(photos | {"num_workers": 2})]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        workers = [int(number) for number in process.stdout.readline().split()]
        assert len(workers) == 2 and process.wait(60) == -9
    assert wait_for(lambda: not any(alive(number) for number in workers), 30)


def alive(number: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False


BPE = {"name": "bpe", "length": 12, "vocab_size": 300}


def test_captions_become_tokens_in_every_way_of_reading(photos):
    settings = photos | {"tokenizer": BPE}
    tokenizer = loader.Data(settings).tokenizer
    spec = loader.Data(settings).spec
    assert (spec.text_length, spec.vocab_size) == (12, tokenizer.vocab_size) and loader.Data(photos).tokenizer is None
    evaluated = [
        {key: batch[key] for key in ("text", "tokens")} for batch in loader.Data(settings).eval_batches("all", 5)
    ]
    arrays = loader.Data(settings).load_arrays("all")
    for batch in [*draw(settings, 4), *evaluated, arrays]:
        assert batch["tokens"].dtype == np.int32
        np.testing.assert_array_equal(batch["tokens"], [tokenizer.encode(text) for text in batch["text"]])
    assert not evaluated[-1]["tokens"][2:].any(), "padding has no text"
    captions = loader.Data(settings).captions("all", 5)
    assert len(loader.Data(settings).captions("all", 10**6)) == len(loader.Data(settings).captions("all"))
    assert [texts[0] for texts in captions] == arrays["text"][:5].tolist() and len(captions[2]) == 3
    assert tokenizer.decode(arrays["tokens"][3]) == arrays["text"][3]


def test_a_vocabulary_whose_file_is_written_anew_is_read_anew(photos, tmp_path):
    file = tmp_path / "tokenizer.json"
    settings = photos | {"tokenizer": BPE | {"file": str(file)}}
    for time_, size in ((1, 300), (1, 300), (2, 262)):
        trained = loader.Data(photos | {"tokenizer": BPE | {"vocab_size": size}}).tokenizer
        trained.save(tmp_path)
        os.utime(file, (time_, time_))
        data = loader.Data(settings)
        assert data.tokenizer.checksum == trained.checksum and data.tokenizer is data.tokenizer, "it is made once"
        assert data.tokenizer.vocab_size == trained.vocab_size
    assert trained.vocab_size == 262


def test_dropout_of_merges_is_of_training_alone_and_by_the_seed(photos):
    settings = photos | {"tokenizer": BPE | {"dropout": 0.5}}
    plain, tokenizer = draw(settings, 6), loader.Data(settings).tokenizer
    assert_same(plain, draw(settings, 6))
    parts = [draw(settings, 6, process_index=p, process_count=2) for p in range(2)]
    joined = [{key: np.concatenate([batch[key] for batch in step]) for key in step[0]} for step in zip(*parts)]
    assert_same(plain, joined)
    texts, tokens = ([row for batch in plain for row in batch[key]] for key in ("text", "tokens"))
    assert np.mean([(row != tokenizer.encode(text)).any() for text, row in zip(texts, tokens)]) > 0.5
    for batch in loader.Data(settings).eval_batches("all", 12):
        np.testing.assert_array_equal(batch["tokens"], [tokenizer.encode(text) for text in batch["text"]])


def test_a_tokenizer_needs_captions(digits):
    with pytest.raises(ValueError, match="config.data.tokenizer is for captions, and 'digits' has none"):
        assert loader.Data(digits | {"tokenizer": BPE}).spec
    with pytest.raises(ValueError, match="'digits' has no captions"):
        loader.Data(digits).captions()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch_size": 1353},
            "batch_size 1353 is larger than the 1352 examples of 'digits' split 'train'.* 1352 or",
        ),
        ({"batch_size": 0}, "batch_size 0 must be a positive multiple of the 1 processes"),
        ({"image_size": 0}, "image_size must be at least 1 pixel, not 0"),
        ({"channels": 4}, r"channels must be 1 \(grey\) or 3 \(RGB\), not 4"),
        ({"crop": "squash"}, r"crop must be one of \('center', 'random'\), not 'squash'"),
        ({"num_workers": -1}, "num_workers must be 0 or more, not -1"),
        ({"read_threads": 0}, "read_threads must be 1 or more, not 0"),
        ({"split": "trian"}, r"the splits \['test', 'train'\], not 'trian'"),
    ],
)
def test_wrong_settings_are_one_clear_line(digits, change, message):
    with pytest.raises(ValueError, match=message) as error:
        loader.Data(digits | change).train_iterator(0)
    assert "\n" not in str(error.value)


def test_wrong_arguments_are_one_clear_line(digits):
    with pytest.raises(ValueError, match="batch_size 52 must be a positive multiple of the 3 processes"):
        loader.Data(digits).train_iterator(0, process_index=0, process_count=3)
    with pytest.raises(ValueError, match=r"process_index 2 must be in 0..1"):
        loader.Data(digits).train_iterator(0, process_index=2, process_count=2)
    with pytest.raises(ValueError, match="config.seed must be 0 or more, not -1"):
        loader.Data(digits).train_iterator(-1)
    with pytest.raises(ValueError, match=r"config.data lacks \['name'\]"):
        loader.Data({"image_size": 8})


def test_a_batch_may_be_the_whole_dataset(photos):
    for batch in draw(photos | {"batch_size": 12}, 2):
        assert sorted(int(text.split()[0]) for text in batch["text"]) == list(range(12))


def test_evaluation_is_one_pass_in_order(digits, photos):
    arrays = loader.Data(digits).load_arrays("test")
    batches = list(loader.Data(digits).eval_batches(batch_size=100))
    assert [batch["mask"].sum() for batch in batches] == [100, 100, 100, 100, 45]
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    assert joined["mask"].dtype == np.float32 and joined["image"].shape == (500, 8, 8, 1)
    np.testing.assert_array_equal(joined["image"][:445], transforms.to_float(arrays["image"]))
    np.testing.assert_array_equal(joined["label"][:445], arrays["label"])
    np.testing.assert_array_equal(joined["image"][445:], -1)
    texts = [text for batch in loader.Data(photos).eval_batches("all", 8) for text in batch["text"]]
    assert sorted(texts[:12]) == sorted(f"{number} line 0" for number in range(12)) and texts[12:] == [""] * 4


@pytest.mark.parametrize("size", [5, 6, 12, 100])
def test_evaluation_is_shared_by_processes(photos, size):
    """All of them see the same number of batches, and side by side the batches of one process."""
    alone = list(loader.Data(photos).eval_batches("all", 2 * size))
    parts = [list(loader.Data(photos).eval_batches("all", 2 * size, p, 2)) for p in (0, 1)]
    joined = [{key: np.concatenate([one[key], other[key]]) for key in one} for one, other in zip(*parts)]
    assert len(parts[0]) == len(parts[1])
    assert_same(alone, joined)
    assert sum(batch["mask"].sum() for batch in alone) == 12


def test_evaluation_says_at_once_what_is_wrong(digits):
    with pytest.raises(ValueError, match="batch_size 7 must be a positive multiple of the 2 processes"):
        loader.Data(digits).eval_batches("test", 7, 0, 2)
    with pytest.raises(ValueError, match="not 'nowhere'"):
        loader.Data(digits).eval_batches("nowhere")


def test_arrays_of_a_whole_split(digits, photos):
    arrays = loader.Data(digits).load_arrays()
    assert arrays["image"].shape == (445, 8, 8, 1) and arrays["image"].dtype == np.uint8
    assert arrays["label"].dtype == np.int32 and "text" not in arrays
    records = sources.open_source("digits", "test", digits["data_dir"]).records
    np.testing.assert_array_equal(arrays["image"], [records[index]["image"] for index in range(445)])
    arrays = loader.Data(photos | {"channels": 1}).load_arrays()
    assert arrays["image"].shape == (12, 8, 8, 1) and arrays["text"].dtype == object
    small = loader.Data(digits | {"image_size": 4, "channels": 3}).load_arrays("test")["image"]
    assert small.shape == (445, 4, 4, 3)


def test_large_data_is_not_kept_in_memory(digits, monkeypatch):
    expected = draw(digits, 30)
    monkeypatch.setattr(examples, "_CACHE_BYTES", 0)
    assert_same(expected, draw(digits, 30))
