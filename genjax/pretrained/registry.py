"""Public checkpoints by name: `KIND:PATH` -> parameters of a family, for `config.init_from` and `genjax-convert`.

PATH is a file or a folder, see `genjax.pretrained.files`; `KIND:PATH#NAME` takes the weights called NAME of a file that
holds several, such as "model" beside "ema". `minilm:` alone is the checkpoint of the installed package.
A converter takes the arrays and the fields of the network, `config.model.network`; what it makes must be what the
family's `init` makes, which who starts from it checks.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from genjax.core import paths
from genjax.core import tree as tree_lib
from genjax.core.arguments import named
from genjax.data import vocabularies
from genjax.nn.beit import BeitClassifier, MaskedBeit
from genjax.nn.bert import BertEncoder
from genjax.nn.encoder_unet import EncoderUNet
from genjax.nn.t5 import T5Encoder
from genjax.nn.unet import UNet
from genjax.pretrained import beit, diffusers_unet, files, guided_diffusion, minilm, t5
from genjax.pretrained.state_dict import MismatchError
from genjax.typing import Params, PyTree

Converter = Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], Params]


def _network(module: type[nn.Module], fields: Mapping[str, Any]) -> nn.Module:
    """The module with the fields of a config; those that only the family knows don't matter to a converter."""
    needed = {
        field.name: 0
        for field in dataclasses.fields(module)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return module(**{**needed, **{name: value for name, value in fields.items() if name != "name"}})


def _of_guided_diffusion(arrays: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> Params:
    if fields["name"] == "encoder_unet":
        return guided_diffusion.encoder_params(arrays, _network(EncoderUNet, fields))
    return guided_diffusion.unet_params(arrays, _network(UNet, fields))


def _of_beit(arrays: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> Params:
    """Of a pretrained network if it has a head for codes, else of a classifier."""
    if "lm_head.weight" in arrays:
        return beit.masked_params(arrays, MaskedBeit(0, dict(fields)))
    return beit.classifier_params(arrays, BeitClassifier(0, dict(fields)))


KINDS: dict[str, Converter] = {
    "beit": _of_beit,
    "diffusers": lambda arrays, fields: diffusers_unet.unet_params(arrays, _network(UNet, fields)),
    "guided_diffusion": _of_guided_diffusion,
    "minilm": lambda arrays, fields: minilm.encoder_params(arrays, _network(BertEncoder, fields)),
    "t5": lambda arrays, fields: t5.encoder_params(arrays, _network(T5Encoder, fields)),
}
"""Origin of a checkpoint -> (its arrays, `config.model.network`) -> parameters of "model", the player or network."""

_BY_CLASS = ("label_emb.weight", "class_embedding.weight", "head.weight", "out.2.c_proj.weight")
"""Arrays with a row a class, in the files of these kinds."""


def is_named(source: str) -> bool:
    """Whether a text names a public checkpoint rather than a workdir."""
    return source.partition(":")[0] in KINDS and ":" in source


class Checkpoint(NamedTuple):
    """A public checkpoint that was read.

    Attributes:
        source: `KIND:PATH` or `KIND:PATH#NAME`.
        arrays: name -> array, as they are in the file.
    """

    source: str
    arrays: Mapping[str, np.ndarray]

    @property
    def num_classes(self) -> int:
        """Rows of its table of labels, or of its classifier; 0 of a network without classes."""
        return next((len(self.arrays[name]) for name in _BY_CLASS if name in self.arrays), 0)

    def params(
        self, fields: Mapping[str, Any], expected: Mapping[str, PyTree] = MappingProxyType({})
    ) -> dict[str, Params]:
        """The parameters {"model": ...}, as numpy arrays.

        Args:
            fields: `config.model.network`, with those that the checkpoint was trained with.
            expected: {"model": fresh parameters, or their shapes}; where a checkpoint doesn't fit, to count what of it
                has other shapes.

        Raises:
            ValueError: for a checkpoint of other settings.
        """
        try:
            return {"model": KINDS[self.source.partition(":")[0]](self.arrays, fields)}
        except MismatchError as error:
            raise ValueError(f"{self.source}: {error}{_other_shapes(error.params, expected)}") from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of layers of another form
            raise ValueError(
                f"{self.source} is a checkpoint of another network than config.model.network: {error}"
            ) from error


def read(source: str) -> Checkpoint:
    """Read a public checkpoint.

    Args:
        source: `KIND:PATH` or `KIND:PATH#NAME`, KIND one of `KINDS`.

    Raises:
        ValueError: for an unknown kind, or a file that isn't there or can't be read.
    """
    kind, _, place = source.partition(":")
    if not is_named(source):
        raise ValueError(f"{source!r} is no public checkpoint: say KIND:PATH, KIND one of {', '.join(sorted(KINDS))}")
    if not place and kind != "minilm":
        raise ValueError(f"{source!r} says no file: {kind}:/path/to/the/checkpoint")
    path, weights = (place, "") if not place or paths.local(place).exists() else _split(place)
    folder = paths.local(path) if path else named("config.data.")(vocabularies.minilm_file)().parent
    return Checkpoint(source, files.read_arrays(folder, weights))


def _split(place: str) -> tuple[str, str]:
    """(path, name of the weights) of `PATH#NAME`."""
    path, _, weights = place.rpartition("#")
    return (path, weights) if path else (place, "")


def _other_shapes(params: PyTree, expected: Mapping[str, PyTree]) -> str:
    """What is said of the parameters that were read but have other shapes than expected; "" if none has."""
    arrays = {name: leaf for name, leaf in tree_lib.named_leaves(params).items() if isinstance(leaf, np.ndarray)}
    wanted = tree_lib.named_leaves(expected.get("model", {}))
    found = tree_lib.summary({"misshapen": tree_lib.differences(wanted, arrays)["misshapen"]})
    return f", {found}" if found else ""
