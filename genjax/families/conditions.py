"""What is requested of `sample`: what each image is conditioned on, and scalars for all of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from genjax.autoregressive.sample import Known
from genjax.typing import Batch, Float, Int, Shaped

Kind = TypeVar("Kind", bound=type)


def _names_known(kind: Kind) -> Kind:
    """Makes the error of an unknown field say which there are."""
    complete: Any = kind
    new = complete.__new__

    def checked(cls, *values, **named):
        for name in sorted(named.keys() - set(complete._fields)):
            raise TypeError(f"there is no condition {name!r}; there are {', '.join(complete._fields)}")
        return new(cls, *values, **named)

    complete.__new__ = checked
    return kind


@_names_known
class Conditions(NamedTuple):
    """The conditions of samples: an entry for each image, on the device or the host; None = no such condition.

    Attributes:
        label: its class.
        tokens: of its text.
        text_states: of its text, from a frozen language model, where they are kept.
        image_embed: what CLIP sees in it.
        image: what CLIP is to see in it, where `image_embed` isn't known.
        low_res: what it is upsampled from.
        known, mask: what it is where the mask is 1, to inpaint the rest.
        source: what it starts from, part of the way down.
        target, weight: with `source`, the other of two images between which it is to be, and its weight, 0 to 1.
        latent: x_T, which it starts from.
        codes, codes_mask: of each level, coarse to fine, None of a level that is free: codes kept where the mask holds.
        options: name -> scalar [], as `ImageSampler.options` names them; absent at their neutral values.
    """

    label: Int[Any, " b"] = None
    tokens: Int[Any, "b s"] = None
    text_states: Float[Any, "b s d"] = None
    image_embed: Float[Any, "b d2"] = None
    image: Float[Any, "b h w c"] = None
    low_res: Float[Any, "b h2 w2 c"] = None
    known: Float[Any, "b h w c"] = None
    mask: Float[Any, "b h w 1"] = None
    source: Float[Any, "b h w c"] = None
    target: Float[Any, "b h w c"] = None
    weight: Float[Any, " b"] = None
    latent: Float[Any, "b h w c"] = None
    codes: tuple[Int[Any, "b _ _"], ...] = None
    codes_mask: tuple[Shaped[Any, "b _ _"], ...] = None
    options: Mapping[str, Any] = {}  # a dict, which JAX sees through; nobody changes it

    @classmethod
    def of_batch(cls, batch: Batch) -> "Conditions":
        """Those that a batch of data has."""
        return cls(**{name: batch[name] for name in cls._fields if name in batch})

    def check_guidance(self, trained: Any, needed: str) -> None:
        """Refuses classifier-free guidance of a model that was not trained for it, with what it needs: ValueError."""
        if "guidance_scale" in self.options and not trained:
            raise ValueError(f"classifier-free guidance needs {needed}; use guidance_scale=1 with this one")

    def known_codes(self, level: int = 0) -> Known | None:
        """The codes of a level that are kept, as `decode` takes them; None of a level that is free."""
        if self.codes is None or self.codes[level] is None:
            return None
        return Known(*(grids[level].reshape(len(grids[level]), -1) for grids in (self.codes, self.codes_mask)))
