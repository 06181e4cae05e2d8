"""Encode a dataset with a trained tokenizer: `python launch/encode.py --workdir=runs/vqvae_digits`.

Writes WORKDIR/encoded, for the prior: `--config.data.encoded=WORKDIR/encoded`. Tells how many codes are in use.
"""

from pathlib import Path

import jax
from absl import flags

from genjax import launcher, stages
from genjax.pipelines import encoding

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the tokenizer's run.", required=True)
_SPLITS = flags.DEFINE_list("splits", [], "Splits of its dataset; default: the training and the held-out split.")
_OUT = flags.DEFINE_string("out", None, f"Folder to write to; default: WORKDIR/{encoding.FOLDER}.")


def main():
    stage = stages.load(_WORKDIR.value)
    folder = Path(_OUT.value) if _OUT.value else Path(_WORKDIR.value) / encoding.FOLDER
    manifest = encoding.encode(stage, folder, _SPLITS.value)
    if jax.process_index() == 0:
        print(f"{folder}: " + ", ".join(f"{count} of {split}" for split, count in manifest.counts.items()))
        codes = stage.family.interface.num_codes
        for split in manifest.counts:
            for level, (share, perplexity) in enumerate(encoding.usage(folder, manifest, codes, split)):
                print(f"{split}, level {level}: {share:.1%} of {codes} codes used, perplexity {perplexity:.1f}")


if __name__ == "__main__":
    launcher.run(main)
