"""Train a chain of stages, and sample: `genjax-pipeline --config=vqvae_digits_pipeline --workdir=D`.

Run it again to resume. Override any field of a stage: `--config.stages.prior.training.num_steps=1000`.
"""

from genjax.launcher import startup
from genjax.launcher.flags import define_accept_changed_data, define_path
from genjax.pipelines import chain

_CONFIG = startup.define_config()
_WORKDIR = define_path("workdir", "Folder of the chain: one workdir a stage.", writes=True, required=True)
_ACCEPT = define_accept_changed_data()


def main():
    """What the program does, its flags being read."""
    written, program = chain.run(_CONFIG.value, _WORKDIR.value, _ACCEPT.value), "sample"
    if _CONFIG.value.sampling == "none":
        program = "evaluate"
    print(f"wrote {written}; more: python launch/{program}.py --workdir={_WORKDIR.value}")


def run():
    """The program `genjax-pipeline`."""
    startup.run(main)
