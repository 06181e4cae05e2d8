"""A workdir out of a public checkpoint: `genjax-convert --config=text_minilm --workdir=runs/minilm`.

The workdir is like that of any run: it can be sampled, be a stage of another one, and be trained further, where the
config says more than no steps. `--checkpoint=guided_diffusion:256x256_diffusion.pt` names another one than the config.
"""

from absl import flags

from genjax import stages
from genjax.launcher import startup
from genjax.launcher.flags import define_path
from genjax.pretrained import registry
from genjax.training import config_check

_CONFIG = startup.define_config()
_WORKDIR = define_path("workdir", "Folder of the run that it becomes.", writes=True, required=True)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, f"KIND:PATH, KIND one of {', '.join(sorted(registry.KINDS))}; default: config.init_from."
)
_WEIGHTS = flags.DEFINE_string(
    "weights", "", "Which weights of a file that holds several; default: the moving average, where there is one."
)


def main():
    """What the program does, its flags being read."""
    config = config_check.check(_CONFIG.value)
    config.init_from = _CHECKPOINT.value or config.init_from
    if _WEIGHTS.value:
        config.init_from += f"#{_WEIGHTS.value}"
    if not registry.is_named(config.init_from):
        raise ValueError(f"config.init_from={config.init_from!r} is no public checkpoint; --checkpoint=KIND:PATH is")
    stages.convert(config, _WORKDIR.value)
    print(f"converted {config.init_from} to {_WORKDIR.value}")


def run():
    """The program `genjax-convert`."""
    startup.run(main)
