"""What is written comes back, and the wrong folder is refused."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.data import encoded, loader
from genjax.data import folder as folder_lib
from genjax.data.broken import BrokenImage

STAGE = {"step": 3, "checksum": 7}
SETTINGS = {"name": "digits", "image_size": 8, "channels": 1, "batch_size": 4}


def finish(what, counts, settings=SETTINGS, **fields):
    return what._replace(counts=counts, images=encoded.images_of(settings), stage=STAGE, **fields)


@pytest.fixture
def codes(tmp_path):
    """(folder, codes of all records) of two processes' files with two levels of codes and labels."""
    rng = np.random.default_rng(0)
    shapes = {"codes_0": (2, 2), "codes_1": (4, 4), "label": ()}
    everything = {name: rng.integers(0, 512, (11, *shape)).astype(np.int32) for name, shape in shapes.items()}
    for process, part in enumerate((slice(0, 6), slice(6, 11))):
        batches = [{name: array[part][:3] for name, array in everything.items()}]
        batches.append({name: array[part][3:] for name, array in everything.items()})
        what, count = encoded.write_split(tmp_path, "train", batches, process, 2)
        assert count == (6, 5)[process]
    encoded.write_manifest(tmp_path, finish(what, {"train": 11}, processes=2))
    return tmp_path, everything


def test_records_come_back(codes):
    folder, everything = codes
    records = encoded.Records(folder, "train", SETTINGS)
    assert len(records) == 11 and encoded.read_manifest(folder).stage == STAGE
    for index in range(11):
        for name, array in everything.items():
            np.testing.assert_array_equal(records[index][name], array[index])


def test_the_loader_gives_codes_instead_of_images(codes):
    folder, everything = codes
    settings = SETTINGS | {"encoded": str(folder), "eval_split": "train"}
    seen = np.concatenate([batch["label"][batch["mask"] > 0] for batch in loader.Data(settings).eval_batches()])
    np.testing.assert_array_equal(seen, everything["label"])
    with loader.Data(settings).train_iterator(seed=0) as batches:
        batch = next(batches)
    assert "image" not in batch and batch["codes_1"].shape == (4, 4, 4) and batch["codes_0"].dtype == np.int32
    rows = [list(row.ravel()) for row in everything["codes_1"]]
    for codes_1, label in zip(batch["codes_1"], batch["label"], strict=True):
        assert everything["label"][rows.index(list(codes_1.ravel()))] == label


def test_what_does_not_fit_is_refused(codes, tmp_path):
    folder, _ = codes
    with pytest.raises(ValueError, match=r"splits \['train'\], not 'test'"):
        encoded.Records(folder, "test", SETTINGS)
    with pytest.raises(ValueError, match="holds codes of .*'image_size': 8.* describes .*'image_size': 16"):
        encoded.Records(folder, "train", SETTINGS | {"image_size": 16})
    with pytest.raises(ValueError, match="no encoded images in .*nothing.*genjax-encode"):
        encoded.Records(tmp_path / "nothing", "train", SETTINGS)


def test_a_folder_that_was_moved_is_the_same_by_its_own_name(codes):
    folder, _ = codes
    there, elsewhere, another = (SETTINGS | {"name": f"folder:{path}"} for path in ("/a/pets", "~/b/pets", "/a/cars"))
    encoded.write_manifest(folder, encoded.read_manifest(folder)._replace(images=encoded.images_of(there)))
    assert len(encoded.Records(folder, "train", elsewhere)) == 11
    with pytest.raises(ValueError, match="holds codes of .*pets.* describes .*cars"):
        encoded.Records(folder, "train", another)


def write(folder, settings, fields, split="test", texts=None, batch=5, processes=1):
    """Write arrays as an encoding run of several processes would."""
    folder = Path(folder)
    count = len(next(iter(fields.values())))
    for process in range(processes):
        share = batch // processes
        batches = []
        for start in range(0, count, batch):
            part = slice(start + process * share, min(start + (process + 1) * share, count))
            rows = {name: array[part] for name, array in fields.items()}
            batches.append(rows | ({"text": texts[part]} if texts else {}))
        what, _ = encoded.write_split(folder, split, batches, process, processes)
    encoded.write_manifest(folder, finish(what, {split: count}, settings, processes=processes, batch_size=batch))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_floats_come_back_as_they_were_rounded(tmp_path, dtype):
    rng = np.random.default_rng(0)
    rounded = rng.normal(size=(11, 3, 4)).astype(jnp.dtype(dtype))
    fields = {"image_embed": rounded, "label": np.arange(11, dtype=np.int32)}
    for processes in (1, 3):
        write(tmp_path, SETTINGS, fields, batch=6, processes=processes)
        records = encoded.Records(tmp_path, "test", SETTINGS)
        assert records.manifest.dtypes == {"image_embed": dtype}
        for index in range(11):
            record = records[index]
            assert record["label"] == index and record["image_embed"].dtype == np.float32
            np.testing.assert_array_equal(record["image_embed"], rounded[index].astype(np.float32))
        assert records.blank()["image_embed"].shape == (3, 4)
        other_size = encoded.Records(tmp_path, "test", SETTINGS | {"image_size": 16})
        np.testing.assert_array_equal(other_size[0]["image_embed"], records[0]["image_embed"])


@pytest.fixture
def captioned(tmp_path):
    """Settings of twelve images with one or two captions each, and these."""
    captions = [(f"a red {n}", "two ü") if n % 2 else (f"a red {n}",) for n in range(12)]
    folder = tmp_path / "images"
    folder.mkdir()
    for n, texts in enumerate(captions):
        Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(folder / f"{n:02}.png")
        (folder / f"{n:02}.txt").write_text("\n".join(texts))
    tokenizer = {"name": "bpe", "length": 16, "vocab_size": 300, "dropout": 0.0}
    settings = {"name": f"folder:{folder}", "split": "all", "eval_split": "all", "tokenizer": tokenizer}
    return SETTINGS | settings | {"channels": 3, "encoded": str(tmp_path / "encoded")}, captions


def with_dropout(settings, share):
    return settings | {"tokenizer": settings["tokenizer"] | {"dropout": share}}


def test_texts_are_kept_beside_codes_and_become_tokens(captioned):
    settings, captions = captioned
    write(settings["encoded"], settings, {"codes_0": np.arange(12, dtype=np.int32)[:, None]}, "all", captions)
    tokenizer = loader.Data(settings).tokenizer
    with loader.Data(with_dropout(settings, 0.5)).train_iterator(0) as batches:
        seen = [next(batches) for _ in range(36)]
    assert set(seen[0]) == {"codes_0", "text", "tokens"}
    for batch in seen:
        for code, text, tokens in zip(batch["codes_0"][:, 0], batch["text"], batch["tokens"]):
            assert text in captions[code] and tokenizer.decode(tokens) == text
    assert len({text for batch in seen for text in batch["text"]}) == 13, "of two captions both are drawn"
    (first, *_) = loader.Data(settings).eval_batches(batch_size=12)
    assert first["text"].tolist() == [texts[0] for texts in captions]
    write(settings["encoded"], settings, {"codes_0": np.arange(12, dtype=np.int32)[:, None]}, "all")
    with pytest.raises(ValueError, match="was written without captions; run genjax-encode again"):
        loader.Data(settings).train_iterator(0)


def test_embeddings_come_beside_the_images(captioned):
    settings, captions = captioned
    settings = settings | {"flip": True}
    states = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float16)
    first = [texts[:1] for texts in captions]
    write(settings["encoded"], settings, {"text_states": states}, "all", first)
    with loader.Data(settings | {"image_size": 4}).train_iterator(0) as batches:
        batch = next(batches)
    assert batch["image"].shape == (4, 4, 4, 3) and batch["text_states"].dtype == np.float32
    numbers = np.round((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int)
    assert batch["text"].tolist() == [captions[n][0] for n in numbers], "the caption that was read"
    np.testing.assert_array_equal(batch["text_states"], states[numbers])
    with pytest.raises(ValueError, match="dropout=0.1 gives other tokens than those that config.data.encoded"):
        loader.Data(with_dropout(settings, 0.1)).train_iterator(0)
    with pytest.raises(ValueError, match="example 0 has 'a red 0', not 'a lie'"):
        write(settings["encoded"], settings, {"text_states": states}, "all", [("a lie",)] * 12)
        list(loader.Data(settings).eval_batches())
    with pytest.raises(ValueError, match="holds 11 examples, and .* has 12"):
        write(settings["encoded"], settings, {"text_states": states[:11]}, "all", first)
        loader.Data(settings).eval_batches()


def test_beside_an_image_that_stands_in_for_a_broken_one_lies_what_was_made_of_that_image(captioned, monkeypatch):
    settings, captions = captioned
    states = np.arange(12, dtype=np.float32)[:, None]
    write(settings["encoded"], settings, {"text_states": states}, "all", [texts[:1] for texts in captions])
    decode = folder_lib.decoded

    def broken(decoder, path, name):
        if name.endswith("03.png"):
            raise BrokenImage(f"{name}: cut")
        return decode(decoder, path, name)

    monkeypatch.setattr(folder_lib, "decoded", broken)
    batches = list(loader.Data(settings).eval_batches())
    numbers = np.concatenate([np.round((batch["image"][:, 0, 0, 0] + 1) * 127.5) for batch in batches])
    assert numbers.tolist() == [0, 1, 2, 4, 4, *range(5, 12)]
    np.testing.assert_array_equal(np.concatenate([batch["text_states"][:, 0] for batch in batches]), numbers)
    assert batches[0]["text"][3] == captions[4][0]


def test_images_can_be_kept_with_their_codes(captioned):
    settings, captions = captioned
    write(settings["encoded"], settings, {"codes_0": np.arange(12, dtype=np.int32)[:, None]}, "all", captions)
    (first, *_) = loader.Data(settings | {"keep_images": True}).eval_batches()
    assert first["image"].shape == (4, 8, 8, 3) and first["codes_0"][:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="made of images without flips"):
        loader.Data(settings | {"keep_images": True, "flip": True}).train_iterator(0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"foo": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"fields": 3, "counts": 3, "images": 3, "stage": 3}',
        b'{"fields": {"codes_0": ["x"]}, "counts": {"train": 3}, "images": {}, "stage": {}}',
        b'{"fields": {"codes_0": [4]}, "counts": {"train": 3}, "images": {"name": "digits"}, "stage": {"step": 1}}',
        b'{"fields": {"text_x": [4]}, "counts": {"train": 3}, "images": {}, "stage": {}, "dtypes": {"text_x": "y"}}',
        b'{"fields": {"text_x": [4]}, "counts": {"train": "3"}, "images": {}, "stage": {}}',
    ],
)
def test_a_manifest_that_is_not_whole_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest.json is cut or altered .*: write it again with genjax-encode"):
        encoded.read_manifest(tmp_path)


def test_records_that_are_missing_or_cut_are_named(codes):
    folder, _ = codes
    first, second = sorted(folder.glob("*.array_record"))
    whole, manifest = second.read_bytes(), encoded.read_manifest(folder)
    for counts, fields in (({"train": 12}, manifest.fields), ({"train": 11}, {**manifest.fields, "more": [9]})):
        encoded.write_manifest(folder, manifest._replace(counts=counts, fields=fields))
        with pytest.raises(ValueError, match=r"has 11 records of train, .* says 1[12] of .* bytes: write it again"):
            encoded.Records(folder, "train", SETTINGS)
    encoded.write_manifest(folder, manifest)
    for damage in (lambda: second.write_bytes(whole[:100]), second.unlink):
        damage()
        with pytest.raises(ValueError, match=r"the records of train in .* can't be read .*: write it again"):
            encoded.Records(folder, "train", SETTINGS)
