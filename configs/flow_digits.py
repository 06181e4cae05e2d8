"""Flow matching on the 8x8 digits, by class (rectified flow, arXiv:2209.03003; arXiv:2210.02747).

    python launch/train.py --config=configs/flow_digits.py --workdir=runs/flow_digits
    python launch/sample.py --workdir=runs/flow_digits --num_samples=1000

x_t = (1 - t) x0 + t eps, and the network predicts the velocity eps - x0, with its plain squared error. Times are
logit-normal (arXiv:2403.03206). Sampled by 25 Euler steps. The network and its training are those of
configs/ddpm_digits.py.

The variant "uniform" has even times, as the first papers. The variant "tiny" trains in seconds, for tests. A student
with a straighter flow: configs/reflow_digits.py.
"""

from ml_collections import ConfigDict

from genjax.configs import ddpm_digits
from genjax.configs.recipes import common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "unconditional", "uniform" (times) or "tiny"."""
    common.expect_variant(variant, "unconditional", "uniform")
    config = ddpm_digits.get_config("" if variant == "uniform" else variant)
    model = config.model
    model.schedule = ConfigDict({"name": "flow"})
    model.parameterization = ConfigDict({"name": "flow", "noise_scale": 1000.0})
    model.weighting = ConfigDict({"name": "flow"})
    model.time_sampler = ConfigDict({"name": "lognormal", "mean": 0.0, "std": 1.0})
    if variant == "uniform":
        model.time_sampler = ConfigDict({"name": "uniform"})
    config.sampling.sampler = ConfigDict({"name": "euler"})
    config.sampling.num_steps = "5" if variant == "tiny" else "25"
    config.sampling.threshold = ConfigDict({"name": "none"})
    return config
