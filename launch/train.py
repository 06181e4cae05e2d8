"""Train any family: `python launch/train.py --config=configs/ddpm_digits.py --workdir=runs/digits`.

Run it again to resume. Override any field: `--config.training.num_steps=1000`.
"""

from genjax import stages
from genjax.launcher import startup
from genjax.launcher.flags import define_path

_CONFIG = startup.define_config()
_WORKDIR = define_path("workdir", "Folder of the run.", writes=True, required=True)


def main():
    config, folder = _CONFIG.value, _WORKDIR.value
    stages.train(config, folder)
    print(f"trained to step {config.training.num_steps}: {folder}")


if __name__ == "__main__":
    startup.run(main)
