"""Encode a dataset once, for the stages that train on its codes: a tokenizer's workdir in, ArrayRecord out.

The paper's way of training a prior: the codes of each picture never change, so they are computed once. Next to the
codes `codes_0`, `codes_1`, ... (int32, coarse to fine) a record keeps the picture's label.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from genjax import sharding
from genjax.data import encoded, loader
from genjax.families.base import Tokenizer
from genjax.stages import Stage
from genjax.training import evaluators, generate

FOLDER = "encoded"
"""Where codes lie in the workdir of their tokenizer, unless said otherwise."""


def encode(stage: Stage, folder: Path, splits: Sequence[str] = (), mesh: Mesh | None = None) -> encoded.Manifest:
    """Write the codes of the splits that a tokenizer was trained on, or others, to `folder`; returns what is there.

    Codes of the same checkpoint that are already there are kept.

    Args:
        stage: a stage whose interface is a `Tokenizer`.
        folder: where to.
        splits: of the stage's dataset; by default the training and the held-out split.
        mesh: devices; by default all.

    Raises:
        ValueError: for a stage that is no tokenizer.
    """
    if not isinstance(stage.family.interface, Tokenizer):
        raise ValueError(
            f"a run of the family {stage.config.family!r} gives no codes; name the workdir of a tokenizer, "
            "such as that of configs/vqvae_digits.py"
        )
    settings = stage.config.data.to_dict() | {"encoded": ""}
    splits = tuple(splits) or tuple(dict.fromkeys((settings["split"], settings["eval_split"])))
    pictures = encoded.pictures_of(settings)
    if _is_there(folder, splits, pictures, stage.record):
        return encoded.read_manifest(folder)
    mesh, here, processes = mesh or sharding.make_mesh(), jax.process_index(), jax.process_count()
    run = jax.jit(stage.family.interface.encode, out_shardings=sharding.batch_sharding(mesh))
    fields, counts = {}, {}
    for split in splits:
        size = generate.fit_batch_size(settings["batch_size"], settings["batch_size"], mesh)
        batches = loader.eval_batches(settings, split, size, here, processes)
        codes = _codes(run, stage, batches, mesh)
        fields, count = encoded.write_split(folder, split, codes, here, processes)
        counts[split] = int(np.sum(multihost_utils.process_allgather(np.asarray(count))))
    manifest = encoded.Manifest(fields, counts, pictures, stage.record, processes)
    if here == 0:
        encoded.write_manifest(folder, manifest)
    multihost_utils.sync_global_devices("encoded")
    return manifest


def _is_there(folder: Path, splits: Sequence[str], pictures: Mapping[str, Any], record: Mapping[str, int]) -> bool:
    if not (folder / encoded.MANIFEST).is_file():
        return False
    there = encoded.read_manifest(folder)
    return set(splits) <= set(there.counts) and there.pictures == pictures and there.stage == record


def _codes(run, stage: Stage, batches, mesh: Mesh) -> Iterator[dict[str, np.ndarray]]:
    """The codes of each batch on this process, and the labels, without what filled up the last batch."""
    for batch in batches:
        real = batch["mask"] > 0
        levels = run(stage.weights, evaluators.to_device({"image": batch["image"]}, mesh)["image"])
        fields = {f"codes_{level}": _local(codes)[real] for level, codes in enumerate(levels)}
        yield fields | ({"label": batch["label"][real]} if "label" in batch else {})


def _local(array: jax.Array) -> np.ndarray:
    """This process's part of an array that is cut along its first axis, in order."""
    parts = {shard.index[0].start or 0: np.asarray(shard.data) for shard in array.addressable_shards}
    return np.concatenate([parts[start] for start in sorted(parts)])


def usage(folder: Path, manifest: encoded.Manifest, num_codes: int, split: str) -> list[tuple[float, float]]:
    """Of each level: the share of the codebook that a split uses, and the perplexity of its codes (in codes)."""
    settings = dict(manifest.pictures)
    records = encoded.Records(folder, split, settings)
    read = [records[index] for index in range(len(records))]
    figures = []
    for name in sorted(field for field in manifest.fields if field.startswith("codes_")):
        counts = np.bincount(np.stack([record[name] for record in read]).ravel(), minlength=num_codes)
        share = counts[counts > 0] / counts.sum()
        figures.append((float(np.mean(counts > 0)), float(np.exp(-np.sum(share * np.log(share))))))
    return figures
