"""Encode a dataset with a trained tokenizer: `genjax-encode --workdir=runs/vqvae_digits`.

Writes WORKDIR/encoded, for the prior: `--config.data.encoded=WORKDIR/encoded`. Tells how many codes are in use.
"""

import jax
from absl import flags

from genjax import stages
from genjax.core import paths
from genjax.launcher import startup
from genjax.launcher.flags import define_path
from genjax.pipelines import encoding

_WORKDIR = define_path("workdir", "Folder of the tokenizer's run.", required=True)
_SPLITS = flags.DEFINE_list("splits", [], "Splits of its dataset; default: the training and the held-out split.")
_OUT = define_path("out", f"Folder to write to; default: WORKDIR/{encoding.FOLDER}.", writes=True)


def main():
    """What the program does, its flags being read."""
    stage = stages.load(_WORKDIR.value)
    folder = _OUT.value or paths.writable_folder(_WORKDIR.value / encoding.FOLDER)
    manifest = encoding.encode(stage, folder, _SPLITS.value)
    if jax.process_index() == 0:
        print(f"{folder}: " + ", ".join(f"{count} of {split}" for split, count in manifest.counts.items()))
        codes = stage.interface.num_codes
        for split in manifest.counts:
            for level, (share, perplexity) in enumerate(encoding.usage(folder, manifest, codes, split)):
                print(f"{split}, level {level}: {share:.1%} of {codes} codes used, perplexity {perplexity:.1f}")


def run():
    """The program `genjax-encode`."""
    startup.run(main)
