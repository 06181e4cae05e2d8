"""VQ-VAE-2 on the digits, whole: codes of two levels, a prior for each, and samples.

python launch/pipeline.py --config=configs/vqvae2_digits_pipeline.py --workdir=runs/vqvae2
python launch/sample.py --workdir=runs/vqvae2 --num_samples=1000
"""

from genjax.configs import vqvae2_digits, vqvae2_prior_digits
from genjax.configs.recipes import pipelines


def get_config(variant: str = ""):
    """The config; `variant` is "" or "tiny"."""
    return pipelines.tokenizer_and_prior(vqvae2_digits.get_config(variant), vqvae2_prior_digits.get_config(variant))
