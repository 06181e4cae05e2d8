"""EDM (arXiv:2206.00364) on the 8x8 digits, by class: its preconditioning, noise levels, weighting and sampler.

    python launch/train.py --config=configs/edm_digits.py --workdir=runs/edm_digits
    python launch/sample.py --workdir=runs/edm_digits --num_samples=1000

The network and its training are those of configs/ddpm_digits.py. The digits have a standard deviation of .75, where the
paper's data have .5, and the mean of log sigma is moved along: -1.2 + log(.75 / .5). 18 Heun steps call the network 35
times an image. The variant "tiny" trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import ddpm_digits

SIGMA_DATA = 0.75


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "unconditional" or "tiny"."""
    config = ddpm_digits.get_config(variant)
    model = config.model
    model.schedule = ConfigDict({"name": "edm", "sigma_min": 0.002, "sigma_max": 80.0})
    model.parameterization = ConfigDict({"name": "edm", "sigma_data": SIGMA_DATA})
    model.weighting = ConfigDict({"name": "edm", "sigma_data": SIGMA_DATA})
    model.time_sampler = ConfigDict({"name": "lognormal", "mean": -0.8, "std": 1.2})
    model.network.time_scale = 4.0  # c_noise is log(sigma) / 4, and the slowest sinusoids see little of that
    config.sampling.sampler = ConfigDict({"name": "heun"})
    config.sampling.num_steps = "karras4" if variant == "tiny" else "karras18"
    config.sampling.threshold = ConfigDict({"name": "none"})
    return config
