"""Sample from a trained run: `python launch/sample.py --workdir=runs/ddpm_digits --num_samples=100`."""

from pathlib import Path

import jax
from absl import flags

from genjax import launcher
from genjax.pipelines import images

_SAMPLING = launcher.SamplingFlags(num_samples=100)
_OUT = flags.DEFINE_string("out", None, "Folder to write to; default: WORKDIR/samples.")
_TRAJECTORY = flags.DEFINE_bool("trajectory", False, "Also write the way from noise to image, as a GIF.")
_RECONSTRUCT = flags.DEFINE_bool("reconstruct", False, "Held-out pictures, each with what the model makes of it.")


def main():
    stage = _SAMPLING.load(trajectory=_TRAJECTORY.value)
    drawn = images.pairs(stage, _SAMPLING.real(stage)) if _RECONSTRUCT.value else _SAMPLING.draw(stage)
    if jax.process_index() == 0:
        out = Path(_OUT.value) if _OUT.value else _SAMPLING.workdir / "samples"
        print(f"wrote {images.save(out, drawn, None if _RECONSTRUCT.value else _SAMPLING.columns(stage))}")


if __name__ == "__main__":
    launcher.run(main)
