"""Train a chain of stages, and sample: `launch/pipeline.py --config=configs/vqvae_digits_pipeline.py --workdir=D`.

Run it again to resume. Override any field of a stage: `--config.stages.prior.training.num_steps=1000`.
"""

from genjax.launcher import startup
from genjax.launcher.flags import define_accept_changed_data, define_path
from genjax.pipelines import chain

_CONFIG = startup.define_config()
_WORKDIR = define_path("workdir", "Folder of the chain: one workdir a stage.", writes=True, required=True)
_ACCEPT = define_accept_changed_data()


def main():
    written, program = chain.run(_CONFIG.value, _WORKDIR.value, _ACCEPT.value), "sample"
    if _CONFIG.value.sampling == "none":
        program = "evaluate"
    print(f"wrote {written}; more: python launch/{program}.py --workdir={_WORKDIR.value}")


if __name__ == "__main__":
    startup.run(main)
