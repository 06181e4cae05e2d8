"""Chains of stages, for `launch/pipeline.py`; see `genjax.pipelines.chain` for the fields."""

from ml_collections import ConfigDict


def chain(
    stages: dict[str, ConfigDict],
    encode: tuple[str, ...] = (),
    samples: int = 100,
    sampling: str = "last",
    cascade: tuple[str, ...] = (),
) -> ConfigDict:
    """A chain of runs.

    Args:
        stages: name -> config of a run, in the order of training.
        encode: names of the stages whose codes, or states of captions, are written before the next stage.
        samples: images that are drawn at the end.
        sampling: "last": from the last stage; "cascade": from the first of `cascade`, upsampled by all others; "none":
            the last stage draws none.
        cascade: names of the stages that make up the cascade.
    """
    config = ConfigDict()
    config.stages = ConfigDict(stages)
    config.order = tuple(stages)
    config.encode = encode
    config.samples = samples
    config.sampling = sampling
    config.cascade = cascade
    return config


def tokenizer_and_prior(tokenizer: ConfigDict, prior: ConfigDict) -> ConfigDict:
    """Images to codes, then a prior that is trained on the codes as they were written once."""
    return chain({"tokenizer": tokenizer, "prior": prior}, encode=("tokenizer",))


def cascade(
    stages: dict[str, ConfigDict],
    samples: int = 100,
    before: dict[str, ConfigDict] | None = None,
    encode: tuple[str, ...] = (),
) -> ConfigDict:
    """A generator of low-resolution images, and super-resolution models that upsample them one after the other.

    Args:
        stages: of the cascade, the base first.
        samples: images that are drawn at the end.
        before: what these build on: a language model.
        encode: names of those among them whose states are written before the next stage.
    """
    return chain({**(before or {}), **stages}, encode, samples, "cascade", tuple(stages))
