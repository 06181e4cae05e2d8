"""Sample from a trained run: `python launch/sample.py --workdir=runs/digits --num_samples=100`."""

from pathlib import Path

import jax
from absl import flags

from genjax import launcher, stages
from genjax.pipelines import images

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 100, "Number of pictures.")
_LABEL = flags.DEFINE_integer("label", None, "Class; by default all classes in equal shares.")
_GUIDANCE_SCALE = flags.DEFINE_float("guidance_scale", None, "Strength of guidance, 1 = none; default: the config's.")
_SAMPLER = flags.DEFINE_string("sampler", None, "ancestral, ddim, heun, dpmpp_2m, ...; default: the config's.")
_NUM_STEPS = flags.DEFINE_string("num_steps", None, "25, ddim25 or 10,10,3,2,2; default: the config's.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the noise.")
_OUT = flags.DEFINE_string("out", None, "Folder to write to; default: WORKDIR/samples.")
_TRAJECTORY = flags.DEFINE_bool("trajectory", False, "Also write the way from noise to image, as a GIF.")


def main():
    folder = Path(_WORKDIR.value)
    overrides: dict = {"trajectory": _TRAJECTORY.value}
    if _SAMPLER.value:
        overrides["sampler"] = {"name": _SAMPLER.value}
    if _NUM_STEPS.value:
        overrides["num_steps"] = _NUM_STEPS.value
    stage = stages.load(folder, sampling=overrides)
    drawn = images.draw(
        stage, _NUM_SAMPLES.value, label=_LABEL.value, guidance_scale=_GUIDANCE_SCALE.value, seed=_SEED.value)
    if jax.process_index() == 0:
        out = Path(_OUT.value) if _OUT.value else folder / "samples"
        columns = stage.family.interface.num_classes if _LABEL.value is None else None
        print(f"wrote {images.save(out, drawn, columns or None)}")


if __name__ == "__main__":
    launcher.run(main)
