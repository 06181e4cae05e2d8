"""What a run needs from outside, looked for before the first of a chain starts: packages, files, other runs, data."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from genjax.core.arguments import named
from genjax.data import sources, tokenizers, vocabularies
from genjax.pretrained import registry as pretrained
from genjax.training import config_check, nesting, workdir


def check(config: ConfigDict, folder: Path, within: Sequence[str] = ()) -> None:
    """Nothing, if all is there that can be known of before the stages that the run builds on are trained.

    Args:
        config: of the run, with the workdirs of its upstream stages.
        folder: its workdir.
        within: names of the runs of its chain, which lie beside it.

    Raises:
        ValueError: as `config_check.check`, and for a package, file, run or dataset that isn't there; names it and the
            stage.
    """
    try:
        config = config_check.check(config)
        with named("config.data."):
            _check_files(config, folder, within)
            sources.open_source(config.data.name, config.data.split, config.data.data_dir)
    except ValueError as error:
        raise ValueError(f"{folder.name}: {error}") from error


def _check_files(config: ConfigDict, folder: Path, within: Sequence[str]) -> None:
    """The vocabulary, the checkpoint and the upstream runs that a config names."""
    beside = {folder.parent / name for name in within}
    tokenizer = config.data.tokenizer.to_dict()
    if tokenizer and (tokenizer["name"] != "bpe" or tokenizer["file"]):
        tokenizers.make(tokenizer)
    if pretrained.is_named(config.init_from):
        path = config.init_from.partition(":")[2]
        places = (path, path.rpartition("#")[0])  # PATH#NAME of its weights
        if not (any(place and Path(place).exists() for place in places) if path else vocabularies.minilm_file()):
            raise ValueError(f"config.init_from={config.init_from}: there is no such checkpoint")
    elif config.init_from and Path(config.init_from) not in beside:
        workdir.read_config(nesting.locate(Path(config.init_from)))
    for name, settings in config.stages.items():
        if name not in within:
            if not settings.workdir:
                raise ValueError(f"config.stages.{name}.workdir is empty: name the run that this one builds on")
            workdir.find(settings.workdir, folder)
