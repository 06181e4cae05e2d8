"""Measure a trained run: `python launch/evaluate.py --workdir=runs/ddpm_digits`; writes WORKDIR/evaluation.json.

Samples come from the run itself, or from a file: `--samples=runs/ddpm_digits/samples/samples.npz`.
"""

from pathlib import Path

import jax
from absl import flags

from genjax import launcher
from genjax.metrics import report
from genjax.pipelines import evaluation, images

_SAMPLING = launcher.SamplingFlags(num_samples=1000)
_SAMPLES = flags.DEFINE_string("samples", None, "A samples.npz to measure, instead of new samples.")


def main():
    stage = _SAMPLING.load()
    drawn = images.load_samples(Path(_SAMPLES.value)) if _SAMPLES.value else _SAMPLING.draw(stage)
    if jax.process_index() == 0:
        result = evaluation.evaluate(stage, _SAMPLING.workdir, drawn)
        report.write_report(_SAMPLING.workdir / "evaluation.json", result)
        print(report.format_table(result))


if __name__ == "__main__":
    launcher.run(main)
