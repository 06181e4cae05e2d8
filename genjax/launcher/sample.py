"""Sample from a trained run: `genjax-sample --workdir=runs/ddpm_digits --num_samples=100`."""

import jax
from absl import flags

from genjax.core import paths
from genjax.launcher import startup
from genjax.launcher.flags import define_path
from genjax.launcher.sampling_flags import SamplingFlags
from genjax.pipelines import sampling as sampling_lib

_SAMPLING = SamplingFlags(num_samples=100)
_OUT = define_path("out", "Folder to write to; default: WORKDIR/samples.", writes=True)
_TRAJECTORY = flags.DEFINE_bool("trajectory", False, "Also write the way from noise to image, as a GIF.")
_RECONSTRUCT = flags.DEFINE_bool("reconstruct", False, "Held-out images, each with what the model makes of it.")


def main():
    """What the program does, its flags being read."""
    stage = _SAMPLING.load(trajectory=_TRAJECTORY.value)
    out = _OUT.value or paths.writable_folder(_SAMPLING.workdir / "samples")
    drawn = _SAMPLING.reconstruct(stage) if _RECONSTRUCT.value else _SAMPLING.draw(stage)
    if jax.process_index() == 0:
        written = sampling_lib.save(out, drawn, None if _RECONSTRUCT.value else _SAMPLING.columns(stage))
        print(f"wrote {written}, by the checkpoint of step {stage.step}")


def run():
    """The program `genjax-sample`."""
    startup.run(main)
