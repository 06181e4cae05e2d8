"""Measure a trained run: `python launch/evaluate.py --workdir=runs/ddpm_digits`; writes WORKDIR/evaluation.json.

Samples come from the run itself, or from a file: `--samples=runs/ddpm_digits/samples/samples.npz`.
"""

from pathlib import Path

import jax
from absl import flags

from genjax import launcher
from genjax.families.base import ImageSampler
from genjax.metrics import report
from genjax.pipelines import evaluation, filling, images

_SAMPLING = launcher.SamplingFlags(num_samples=1000)
_SAMPLES = flags.DEFINE_string("samples", None, "A samples.npz to measure, instead of new samples.")
_LIKELIHOOD = flags.DEFINE_string(
    "likelihood", "", "Also a diffusion model's likelihood of the held-out pictures: bound (of all steps), or ode."
)
_HOLES = flags.DEFINE_bool(
    "fill_holes", False, "Instead of samples: held-out scenes with one of two objects erased, filled by their captions."
)
_PROBE = flags.DEFINE_multi_string("probe_data", [], "Labelled data to probe features with, NAME or NAME@train[:500].")
_NOISES = flags.DEFINE_multi_float("probe_noise", [0.0], "Standard deviations of noise on what --probe_data names.")


def main():
    stage = _SAMPLING.load()
    holes, drawn = None, None
    if _HOLES.value and (_SAMPLES.value or _SAMPLING.prompts()):
        raise ValueError("--fill_holes draws from held-out scenes and their captions: leave samples and prompts out")
    if _HOLES.value:
        holes = filling.measure(stage, _SAMPLING.count, _SAMPLING.options, _SAMPLING.seed)
    elif _SAMPLES.value:
        drawn = images.load_samples(Path(_SAMPLES.value))
    elif isinstance(stage.family.interface, ImageSampler):
        drawn = _SAMPLING.draw(stage)
    if jax.process_index() == 0:
        result = evaluation.evaluate(
            stage, _SAMPLING.workdir, drawn, 0, _LIKELIHOOD.value, _PROBE.value, _NOISES.value
        )
        result |= {"holes": holes} if holes else {}
        report.write_report(_SAMPLING.workdir / "evaluation.json", result)
        print(evaluation.format_result(result))


if __name__ == "__main__":
    launcher.run(main)
