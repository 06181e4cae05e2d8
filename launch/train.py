"""Train any family: `python launch/train.py --config=configs/ddpm_digits.py --workdir=runs/digits`.

Run it again to resume. Override any field: `--config.training.num_steps=1000`.
"""

from pathlib import Path

from absl import flags

from genjax import launcher, stages

_CONFIG = launcher.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.mark_flags_as_required(["config", "workdir"])


def main():
    config, folder = _CONFIG.value, Path(_WORKDIR.value)
    stages.train(config, folder)
    print(f"trained to step {config.training.num_steps}: {folder}")


if __name__ == "__main__":
    launcher.run(main)
