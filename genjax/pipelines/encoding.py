"""Encode a dataset once, for the stages that train on what another one makes of it: a workdir in, ArrayRecord out.

What never changes is computed once: the codes of a tokenizer (VQ-VAE, DALL-E), the embeddings of a CLIP (unCLIP), the
states of a frozen language model (Imagen caches them too). A record has

    codes_0, codes_1, ..       int32, coarse to fine                     of a `Tokenizer`
    image_embed, text_embed    float32, of length 1                      of an `ImageTextEncoder`
    text_states, text_pooled   float16 and float32, and states of padding are 0    of a `TextEncoder`

and beside them the image's label and captions; `genjax.data.encoded` says how they come back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from genjax import generate, sharding
from genjax.core import images as images_lib
from genjax.data import encoded, loader
from genjax.families.interfaces import (
    EvaluateFn,
    FeatureExtractor,
    ImageTextEncoder,
    TextEncoder,
    Tokenizer,
    Weights,
)
from genjax.families.shared import clip_images
from genjax.nn.layers import kernels
from genjax.stages import Stage
from genjax.training import evaluators
from genjax.typing import Array, Batch, PyTree

FOLDER = "encoded"
"""Where it lies in the workdir of the stage that encodes, unless said otherwise."""
STATES_DTYPE = "float16"
"""What the states of a language model are rounded to."""


def encode(stage: Stage, folder: Path, splits: Sequence[str] = ()) -> encoded.Manifest:
    """Write what a stage makes of splits of its data to `folder`; returns what is there.

    What the same checkpoint has already written there is kept.

    Args:
        stage: a stage whose interface is a `Tokenizer`, an `ImageTextEncoder` or a `TextEncoder`.
        folder: where to.
        splits: of the dataset; by default the stage's training and held-out split.

    Raises:
        ValueError: for a stage that encodes nothing, or states too large for `STATES_DTYPE`.
    """
    function = encoder(stage.interface, stage.config.family)
    settings = stage.config.data.to_dict() | {"encoded": ""}
    splits = tuple(splits) or tuple(dict.fromkeys((settings["split"], settings["eval_split"])))
    images = encoded.images_of(settings)
    if _is_there(folder, splits, images, stage):
        return encoded.read_manifest(folder)
    mesh, here, processes = sharding.make_mesh(), jax.process_index(), jax.process_count()
    size = generate.fit_batch_size(settings["batch_size"], settings["batch_size"], mesh)
    run = jax.jit(kernels.kernel("auto", mesh)(function), out_shardings=sharding.batch_sharding(mesh))
    data, counts, what = loader.Data(settings), {}, encoded.Manifest({}, {}, {}, {})
    for split in splits:
        batches = _encoded(run, stage, data, split, size, mesh)
        what, count = encoded.write_split(folder, split, batches, here, processes)
        counts[split] = int(np.sum(multihost_utils.process_allgather(np.asarray(count))))
    manifest = what._replace(counts=counts, images=images, stage=stage.record, processes=processes, batch_size=size)
    if here == 0:
        encoded.write_manifest(folder, manifest)
    multihost_utils.sync_global_devices("encoded")
    return manifest


def encoder(interface: Any, family: str) -> Callable[[Weights, Batch], dict[str, Array]]:
    """The function (weights, batch) -> field -> array [b, ...] that is run on every batch.

    Args:
        interface: of the stage that encodes.
        family: its name, for the error.

    Raises:
        ValueError: for an interface that encodes nothing.
    """

    def codes(weights, batch):
        return {f"codes_{level}": found for level, found in enumerate(interface.encode(weights, batch["image"]))}

    def embeddings(weights, batch):
        return {
            "image_embed": clip_images.embed(interface, weights, batch["image"]),
            "text_embed": interface.encode_text(weights, batch["tokens"]),
        }

    def states(weights, batch):
        features = interface.encode(weights, batch["tokens"])
        kept = jnp.where(features.mask[..., None], features.states, 0)
        return {"text_states": kept.astype(STATES_DTYPE), "text_pooled": features.pooled.astype(jnp.float32)}

    functions = {Tokenizer: codes, ImageTextEncoder: embeddings, TextEncoder: states}
    if type(interface) not in functions:
        raise ValueError(
            f"a run of the family {family!r} gives no codes, no embeddings and no states of texts; name the workdir "
            "of a tokenizer, such as that of configs/vqvae_digits.py, of a CLIP or of a language model"
        )
    return functions[type(interface)]


def encoders(interface: Any) -> dict[str, Callable[..., PyTree]]:
    """What a stage encodes, uint8 "images" and tokens of "texts" -> (weights, arrays, key) -> features [b, ...].

    Args:
        interface: of the stage: a `Tokenizer`, an `ImageTextEncoder`, a `TextEncoder` or a `FeatureExtractor`; others
            encode nothing.
    """

    def of_images(encode):
        return lambda weights, pixels, key: encode(weights, images_lib.from_uint8(pixels))

    def of_texts(encode):
        return lambda weights, tokens, key: encode(weights, tokens)

    if isinstance(interface, Tokenizer):
        return {"images": of_images(interface.encode)}
    if isinstance(interface, ImageTextEncoder):
        return {"images": of_images(partial(clip_images.embed, interface)), "texts": of_texts(interface.encode_text)}
    if isinstance(interface, TextEncoder):
        return {"texts": of_texts(interface.encode)}
    if isinstance(interface, FeatureExtractor):
        return {"images": of_images(interface.features)}
    return {}


def of_pixels(evaluate: EvaluateFn) -> EvaluateFn:
    """A family's `evaluate`, of uint8 images."""

    def function(weights, batch, key):
        return dict(evaluate(weights, {**batch, "image": images_lib.from_uint8(batch["image"])}, key))

    return function


def _is_there(folder: Path, splits: Sequence[str], images: Mapping[str, Any], stage: Stage) -> bool:
    """Whether all of it was written by this checkpoint."""
    if not (folder / encoded.MANIFEST).is_file():
        return False
    there = encoded.read_manifest(folder)
    return there.images == images and there.stage == stage.record and set(splits) <= set(there.counts)


def _encoded(run, stage: Stage, data: loader.Data, split: str, size: int, mesh: Mesh) -> Iterator[dict[str, Any]]:
    """What becomes of each batch on this process, with labels and captions, without what filled up the last batch."""
    here, processes = jax.process_index(), jax.process_count()
    captions = data.captions(split) if data.spec.has_text else None
    batches = data.eval_batches(split, size, here, processes)
    for number, batch in enumerate(tqdm(batches, desc=split, unit="batch", disable=here != 0)):
        real = batch["mask"] > 0
        arrays = run(stage.weights, evaluators.to_device(batch, mesh))
        fields = {name: _local(array)[real] for name, array in arrays.items()}
        for name, array in fields.items():
            if not np.isfinite(array.astype(np.float32)).all():
                raise ValueError(
                    f"{name} has values that {array.dtype} can't hold: leave config.data.encoded of the next run "
                    "empty, which then computes them as it trains"
                )
        fields |= {"label": batch["label"][real]} if "label" in batch else {}
        if captions is not None:
            first = number * size + here * (size // processes)
            of_texts = any(name.startswith("text_") for name in fields)
            texts = captions[first : first + len(batch["mask"][real])]
            fields[encoded.TEXT] = [one[:1] for one in texts] if of_texts else texts
        yield fields


def _local(array: jax.Array) -> np.ndarray:
    """This process's part of an array that is cut along its first axis, in order."""
    parts = {shard.index[0].start or 0: np.asarray(shard.data) for shard in array.addressable_shards}
    return np.concatenate([parts[start] for start in sorted(parts)])


def usage(folder: Path, manifest: encoded.Manifest, num_codes: int, split: str) -> list[tuple[float, float]]:
    """Of each level: the share of the codebook that a split uses, and the perplexity of its codes (in codes)."""
    settings = dict(manifest.images)
    records = encoded.Records(folder, split, settings)
    read = [records[index] for index in range(len(records))]
    figures = []
    for name in sorted(field for field in manifest.fields if field.startswith("codes_")):
        counts = np.bincount(np.stack([record[name] for record in read]).ravel(), minlength=num_codes)
        share = counts[counts > 0] / counts.sum()
        figures.append((float(np.mean(counts > 0)), float(np.exp(-np.sum(share * np.log(share))))))
    return figures
