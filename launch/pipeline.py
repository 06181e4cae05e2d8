"""Train a chain of stages, and sample: `launch/pipeline.py --config=configs/vqvae_digits_pipeline.py --workdir=D`.

Run it again to resume. Override any field of a stage: `--config.stages.prior.training.num_steps=1000`.
"""

from pathlib import Path

from absl import flags

from genjax import launcher
from genjax.pipelines import chain

_CONFIG = launcher.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the chain: one workdir a stage.")
flags.mark_flags_as_required(["config", "workdir"])


def main():
    written, program = chain.run(_CONFIG.value, Path(_WORKDIR.value)), "sample"
    if _CONFIG.value.sampling == "none":
        program = "evaluate"
    print(f"wrote {written}; more: python launch/{program}.py --workdir={_WORKDIR.value}")


if __name__ == "__main__":
    launcher.run(main)
