"""What every config is checked for when it is read: that its fields are there, its numbers in their ranges, its paths
on this machine.

One table for all families. What a field may be in the company of others, the code that reads it says.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from genjax.core import paths
from genjax.core.arguments import named
from genjax.core.ranges import AT_LEAST_0, COUNT, COUNT_OR_0, POSITIVE, SEED, SHARE, Range
from genjax.families.options import OPTIONS
from genjax.nn.layers import kernels
from genjax.pretrained import registry as pretrained

BELOW_1 = Range(0, 1, below=True)
ABOVE_0_TO_1 = Range(0, 1, above=True)
DEVICES = Range(1, whole=True, also=(-1,))

REQUIRED: dict[str, Range] = {
    "seed": SEED,
    "data.image_size": COUNT,
    "data.channels": COUNT,
    "data.batch_size": COUNT,
    "data.num_workers": COUNT_OR_0,
    "data.read_threads": COUNT,
    "training.num_steps": COUNT_OR_0,
    "training.microbatches": COUNT,
    "training.max_nonfinite": COUNT,
    "training.ema.decay": BELOW_1,
    "mesh.data": DEVICES,
    "mesh.fsdp": DEVICES,
    "mesh.tensor": DEVICES,
    "checkpoint.every": COUNT_OR_0,
    "checkpoint.keep": COUNT,
    "log.every": COUNT_OR_0,
    "log.sample_every": COUNT_OR_0,
    "log.eval_every": COUNT_OR_0,
    "log.num_samples": COUNT,
}
"""Numbers that every config has."""

RANGES: dict[str, Range] = {
    r"data\.max_broken": SHARE,
    r"data\.tokenizer\.length": COUNT,
    r"data\.tokenizer\.(vocab_size)": COUNT_OR_0,
    r"optimizer\.\w+\.learning_rate": POSITIVE,
    r"optimizer\.\w+\.(end_factor|momentum|weight_decay|clip_norm)": AT_LEAST_0,
    r"optimizer\.\w+\.(decay_steps|warmup_steps)": COUNT_OR_0,
    r"optimizer\.\w+\.(b1|b2)": BELOW_1,
    r"optimizer\.\w+\.eps": POSITIVE,
    r"optimizer\.\w+\.layer_decay": ABOVE_0_TO_1,
    **{rf"sampling\.{name}": option.within for name, option in OPTIONS.items()},
    r"sampling\.(guidance_rescale|strength)": SHARE,
    r"sampling\.noise_scale": POSITIVE,
    r"sampling\.(batch_size|resamples|candidates|standing_batch|standing_passes|num_steps)": COUNT,
    r"sampling\.threshold\.quantile": ABOVE_0_TO_1,
    r"model\.(.+\.)?\w*dropout\w*": SHARE,
    r"model\.(.+\.)?(drop_path|label_smoothing|blur_share|max_aug_level|min_side|max_side|everything)": SHARE,
    r"model\.(.+\.)?(crop_fraction|min_aspect)": ABOVE_0_TO_1,
    r"model\.codebook\.decay": BELOW_1,
    r"model\.codebook\.epsilon": POSITIVE,
    r"model\.codebook\.restart_threshold": AT_LEAST_0,
    r"model\.(.+\.)?(sigma_data|sigma_min|sigma_max|noise_scale|data_variance|time_scale)": POSITIVE,
    r"model\.(.+\.)?(spectral_eps|norm_eps|init_std|table_std|init_range|time_sampler\.std)": POSITIVE,
    r"model\.temperature(\.start|\.end)?": POSITIVE,
    r"model\.(.+\.)?(vb_weight|beta|commitment_cost|gradient_penalty|orthogonal|r1|gamma|text_weight)": AT_LEAST_0,
    r"model\.(.+\.)?(free_bits|amount|code_noise|kl\.weight|cutout|translation)": AT_LEAST_0,
    r"model\.network\.alpha": Range(0, 0.5, above=True, below=True),
    r"model\.(.+\.)?(beta_start|beta_end)": Range(0, 1, above=True, below=True),
    r"model\.(.+\.)?(fit_steps|kl_annealing_steps|tokenizer_size|depth|shared_dim|head_channels)": COUNT_OR_0,
    r"model\.(.+\.)?(num_\w+|\w*width|\w+_dim|\w*kernel\w*|patch_size|bottom_size|dim|interval|\w+_steps)": COUNT,
    r"model\.(.+\.)?(attention_resolutions|depths|hidden|downs)": COUNT,
    r"model\.(.+\.)?channel_mult": POSITIVE,
    r"sampling\.guidance_interval": AT_LEAST_0,
    r"model\.(.+\.)?(low_res\.size|max_length|min_block|iwae_samples|mlp_ratio|feature_depth|base)": COUNT,
}
"""Pattern of a whole field's name -> range, the first that fits. A number that none fits has only to be finite."""

TEXTS = re.compile(r"family|init_from|data\.(name|split|eval_split|data_dir|crop|encoded)|stages\.\w+\.workdir")
"""Fields that are texts in every config."""
NUMBERS = re.compile(r"data\.(max_broken|tokenizer\.(length|vocab_size|dropout))")
"""Fields that are numbers wherever they are."""
INTERVAL = "sampling.guidance_interval"

SECTIONS = ("family", "data", "model", "optimizer", "training", "mesh", "checkpoint", "log", "sampling", "stages")
PATHS = re.compile(r"stages\.\w+\.workdir|init_from|data\.(name|data_dir|encoded|tokenizer\.file)")
"""Fields that name files or folders."""


def check(config: ConfigDict) -> ConfigDict:
    """A copy of a run's config, with its paths as this machine has them.

    Raises:
        ValueError: for a chain's config, fields that are missing, numbers out of range, precisions that can't be
            trained in, paths to other storage; each by its name.
    """
    _expect_run(config)
    config = ConfigDict(config.to_dict())
    for name, value in _leaves(config.to_dict()):
        _check_value(name, value)
        if PATHS.fullmatch(name) and value:
            *sections, field = name.split(".")
            functools.reduce(lambda inner, section: inner[section], sections, config)[field] = _local(name, value)
    return config


def is_chain(config: ConfigDict) -> bool:
    """Whether a config is one of several runs, for `genjax.pipelines.chain`."""
    return "order" in config


def _expect_run(config: ConfigDict) -> None:
    """Refuse what isn't the config of one run."""
    if is_chain(config):
        raise ValueError(
            f"this config is of a chain of runs ({', '.join(config.order)}), not of one: train it by "
            "genjax-pipeline, with the same --config and --workdir"
        )
    missing = [name for name in SECTIONS if name not in config] or [
        name for name in REQUIRED if name not in dict(_leaves(config.to_dict()))
    ]
    if missing:
        raise ValueError(
            f"the config has no field {missing[0]}: let it start from genjax.configs.recipes.common.base()"
        )


def _check_dtype(name: str, value: Any) -> None:
    """A precision that can be trained in, as jax has it."""
    wide = ["float64"] if jax.config.jax_enable_x64 else []  # type: ignore[attr-defined]  # made by jax at run time
    known = ["bfloat16", "float32", *wide]
    if value is None or value in known:
        return
    message = f"config.{name}={value!r} can't be trained in: choose one of {known}"
    if value in ("float16", "half", "fp16", "f2"):
        message += "; most gradients of a network are too small for float16, bfloat16 has float32's range"
    raise ValueError(message)


def _check_value(name: str, value: Any) -> None:
    """A number in its range; a field that is one in every config may be nothing else."""
    if re.fullmatch(r"model\.(.+\.)?(param_)?dtype", name):
        _check_dtype(name, value)
    if name == "training.attention":
        named("config.training.")(kernels.check)(value)
    if TEXTS.fullmatch(name) and not isinstance(value, str):
        raise ValueError(f"config.{name}={value!r} must be a text")
    if name == INTERVAL and value != () and not _is_interval(value):
        raise ValueError(f"config.{name}={value!r} must be (low, high), or () for none")
    within = range_of(name)
    for number in value if isinstance(value, (tuple, list)) else (value,):
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if is_number or name in REQUIRED or NUMBERS.fullmatch(name):
            within.check(f"config.{name}", number)


def _is_interval(value: Any) -> bool:
    """Whether a value is (), or two numbers in their order."""
    return isinstance(value, (tuple, list)) and len(value) in (0, 2) and list(value) == sorted(value)


@functools.cache
def range_of(name: str) -> Range:
    """The range of a field, by its whole name without `config.`."""
    known = REQUIRED.get(name)
    return known or next((found for pattern, found in RANGES.items() if re.fullmatch(pattern, name)), Range())


def _local(name: str, text: str) -> str:
    """A field that names a file, as this machine has it; `folder:PATH` and `KIND:PATH` keep what is before the path."""
    kind, _, path = text.partition(":")
    if name == "data.name" and text.startswith(("/", "./", "../", "~")):
        raise ValueError(f"config.data.name={text} is a path: write folder:{text} for a folder of images")
    if name == "data.name" and kind != "folder":
        if re.match(r"\w+:/", text):
            raise ValueError(f"config.data.name={text}: write folder:/path for images on this machine")
        return text
    split = name == "data.name" or (name == "init_from" and pretrained.is_named(text))
    try:
        if not split:
            return str(paths.local(text))
        return f"{kind}:{paths.local(path)}" if path else text
    except ValueError as error:
        raise ValueError(f"config.{name}={text}: {error}") from error


def _leaves(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Whole name and value of every field."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield before + name, value
