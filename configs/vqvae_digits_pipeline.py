"""VQ-VAE on the digits, whole: the tokenizer, its codes, the prior over them, and samples.

python launch/pipeline.py --config=configs/vqvae_digits_pipeline.py --workdir=runs/vqvae
python launch/sample.py --workdir=runs/vqvae --num_samples=1000
"""

from genjax.configs import vqvae_digits, vqvae_prior_digits
from genjax.configs.recipes import pipelines


def get_config(variant: str = ""):
    """The config; `variant` is "" or "tiny"."""
    return pipelines.tokenizer_and_prior(vqvae_digits.get_config(variant), vqvae_prior_digits.get_config(variant))
