"""Chains of stages, for `launch/pipeline.py`; see `genjax.pipelines.chain` for the fields."""

from ml_collections import ConfigDict


def chain(
    stages: dict[str, ConfigDict], encode: tuple[str, ...] = (), samples: int = 100, sampling: str = "last"
) -> ConfigDict:
    """A chain of runs.

    Args:
        stages: name -> config of a run, in the order of training.
        encode: names of the tokenizers whose codes are written before the next stage.
        samples: pictures that are drawn at the end.
        sampling: "last": from the last stage; "cascade": from the first, enlarged by all others.
    """
    config = ConfigDict()
    config.stages = ConfigDict(stages)
    config.order = tuple(stages)
    config.encode = encode
    config.samples = samples
    config.sampling = sampling
    return config


def tokenizer_and_prior(tokenizer: ConfigDict, prior: ConfigDict) -> ConfigDict:
    """Pictures to codes, then a prior that is trained on the codes as they were written once."""
    return chain({"tokenizer": tokenizer, "prior": prior}, encode=("tokenizer",))


def cascade(stages: dict[str, ConfigDict], samples: int = 100) -> ConfigDict:
    """A generator of small pictures, and super-resolution models that enlarge them one after the other."""
    return chain(stages, samples=samples, sampling="cascade")
