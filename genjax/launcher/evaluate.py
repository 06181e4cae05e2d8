"""Measure a trained run: `genjax-evaluate --workdir=runs/ddpm_digits`; writes WORKDIR/evaluation.json.

Samples come from the run itself, or from a file: `--samples=runs/ddpm_digits/samples/samples.npz`.
"""

import jax
from absl import flags

from genjax.core.ranges import AT_LEAST_0
from genjax.launcher import startup
from genjax.launcher.flags import define_choice, define_numbers, define_path
from genjax.launcher.sampling_flags import SamplingFlags
from genjax.metrics import report
from genjax.pipelines import evaluation, sample_files

_SAMPLING = SamplingFlags(num_samples=1000, writes=True)
_SAMPLES = define_path("samples", "Samples to measure instead of new ones: .npz, .npy or a folder of images.")
_LIKELIHOOD = define_choice("likelihood", ("bound", "ode"), "Also the likelihood of held-out images, so computed.")
_HOLES = flags.DEFINE_bool("fill_holes", False, "Fill held-out scenes, of which one of two objects is erased, instead.")
_PROBE = flags.DEFINE_multi_string("probe_data", [], "Labelled data to probe features with, NAME or NAME@train[:500].")
_NOISES = define_numbers("probe_noise", [0.0], "Standard deviation of noise on what --probe_data names", AT_LEAST_0)


def main():
    """What the program does, its flags being read."""
    found = sample_files.read(_SAMPLES.value) if _SAMPLES.value else None
    stage = _SAMPLING.load()
    requested = (_LIKELIHOOD.value or "", _PROBE.value, _NOISES.value)
    evaluation.check(stage, *requested[:2])
    holes = _SAMPLING.fill_holes(stage) if _HOLES.value else {}
    drawn = None if holes else _SAMPLING.samples(stage, found)
    if jax.process_index() == 0:
        result = holes | evaluation.evaluate(stage, _SAMPLING.workdir, drawn, 0, *requested)
        print(evaluation.format_result(result))
        report.write_report(_SAMPLING.workdir / "evaluation.json", result)


def run():
    """The program `genjax-evaluate`."""
    startup.run(main)
