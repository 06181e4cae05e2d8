"""Train any family: `genjax-train --config=ddpm_digits --workdir=runs/digits`.

Run it again to resume. Override any field: `--config.training.num_steps=1000`.
"""

from genjax import stages
from genjax.launcher import startup
from genjax.launcher.flags import define_accept_changed_data, define_path, define_stages
from genjax.training import places

_CONFIG = startup.define_config()
_WORKDIR = define_path("workdir", "Folder of the run.", writes=True, required=True)
_STAGES = define_stages()
_ACCEPT = define_accept_changed_data()


def main():
    """What the program does, its flags being read."""
    config, folder = _CONFIG.value, _WORKDIR.value
    with places.override(_STAGES.value):
        stages.train(config, folder, _ACCEPT.value)
    print(f"trained to step {config.training.num_steps}: {folder}")


def run():
    """The program `genjax-train`."""
    startup.run(main)
