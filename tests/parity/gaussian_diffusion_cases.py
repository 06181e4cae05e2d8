"""A network in closed form under the official diffusion code, and the figures that it gave.

`data/gaussian_diffusion.npz` holds what `GaussianDiffusion` and `SpacedDiffusion` of ADM's release compute: tables
of each schedule and respacing, training losses and their gradients, terms of the bound, single steps of the
samplers. In place of a network stands `network`, a function of x and t that both sides evaluate, and one draw of
noise stands for every draw. The release multiplies by float32 tables; here `Tensor.float` was made `Tensor.double`,
so that all figures are of float64. Improved DDPM's release was run beside it and gave the same bits wherever it has
the function (it has no guidance). To make the file anew, with PyTorch 2.13 and checkouts of
github.com/openai/guided-diffusion and github.com/openai/improved-diffusion:

    PYTHONPATH=.:PATH/TO/guided-diffusion:PATH/TO/improved-diffusion python tests/parity/gaussian_diffusion_cases.py

Arrays of images are NHWC in the file.
"""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = Path(__file__).parent / "data" / "gaussian_diffusion.npz"
SHAPE = (6, 2, 3, 3)  # NHWC
SCALE = 1.7
"""Of the classifier's gradient."""

CHAINS = [
    (schedule, steps, spec)
    for schedule in ("linear", "cosine")
    for steps, specs in {
        1000: ("", "25", "ddim25", "250", "10,10,3,2,2"),
        4000: ("", "25", "ddim25", "250", "5,0,7,20"),
    }.items()
    for spec in specs
]
"""(schedule, T, respacing or "" for none)."""
TABLES = (
    "betas",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


class Loss(NamedTuple):
    """A training loss: names of the official enums, and whether the network sees t * 1000 / T."""

    schedule: str
    steps: int
    mean: str
    variance: str
    kind: str
    rescale: bool = False


LOSSES = {
    "ddpm": Loss("linear", 1000, "EPSILON", "FIXED_LARGE", "MSE"),
    "x0": Loss("cosine", 1000, "START_X", "FIXED_SMALL", "MSE"),
    "adm": Loss("linear", 1000, "EPSILON", "LEARNED_RANGE", "MSE"),
    "adm_4000": Loss("cosine", 4000, "EPSILON", "LEARNED_RANGE", "MSE"),
    "iddpm": Loss("cosine", 4000, "EPSILON", "LEARNED_RANGE", "RESCALED_MSE", True),
    "x0_hybrid": Loss("cosine", 1000, "START_X", "LEARNED_RANGE", "RESCALED_MSE"),
    "vlb": Loss("cosine", 4000, "EPSILON", "LEARNED_RANGE", "RESCALED_KL", True),
    "kl_fixed_large": Loss("linear", 1000, "EPSILON", "FIXED_LARGE", "KL"),
    "kl_fixed_small": Loss("linear", 1000, "EPSILON", "FIXED_SMALL", "KL"),
}
BOUNDS = {
    f"{schedule}/{spec}/{variance}": (schedule, spec, variance)
    for schedule, spec, variance in [
        ("linear", "", "FIXED_LARGE"),
        ("linear", "25", "FIXED_SMALL"),
        ("linear", "25", "LEARNED_RANGE"),
        ("cosine", "10,10,3,2,2", "FIXED_LARGE"),
        ("cosine", "25", "LEARNED_RANGE"),
    ]
}
"""Bounds of T = 1000, x0 clipped: (schedule, respacing, variance)."""
STEP_CHAIN = ("cosine", 1000, "25")
STEPS = (0, 1, 12, 24)
"""Which of the 25 steps are taken, from the least noisy."""
VARIANCES = ("FIXED_SMALL", "FIXED_LARGE", "LEARNED_RANGE")
ETAS = (0.0, 0.6)


def draw(name: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Standard normal numbers that depend on the name alone."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def clean() -> np.ndarray:
    """8-bit data scaled to [-1, 1], both ends among it."""
    return np.clip(np.round((0.5 * draw("x0") + 1) * 127.5), 0, 255) / 127.5 - 1


def times(steps: int) -> np.ndarray:
    """A time for each example, both ends among them."""
    return np.array([0, 1, steps // 7, steps // 2, steps - 2, steps - 1])


def network(xp, x, t, theta=(1.0, 1.0)):
    """(prediction, variance's v beyond [-1, 1]) for x and t that broadcasts; `xp` is a library with sin, cos, tanh."""
    prediction = 0.8 * xp.tanh(x) + 0.3 * xp.cos(3 * x + 0.002 * t)
    return theta[0] * prediction, theta[1] * 1.3 * xp.sin(2 * x - 0.003 * t)


def log_prob(xp, x, t):
    """What a classifier says of each entry; `cos(x)` times the same is its gradient."""
    return xp.sin(x) * (0.5 + 0.0004 * t)


def chain_name(chain: tuple[str, int, str]) -> str:
    """A chain's prefix in the file."""
    return "tables/" + "/".join(map(str, chain))


def stored(length: int) -> np.ndarray:
    """Which entries of a table or of a bound's terms are kept: all, or the ends and a sample of a long one."""
    index = np.arange(length)
    return index if length <= 250 else index[(index < 5) | (index >= length - 5) | (index % (length // 40) == 0)]


def load() -> dict[str, np.ndarray]:
    """The figures."""
    with np.load(FILE) as file:
        return dict(file)


class Official:
    """One of the two releases, in float64 and with one noise."""

    def __init__(self, package: str):
        import importlib

        import torch

        torch.Tensor.float = torch.Tensor.double
        self.th = torch
        self.diffusion = importlib.import_module(f"{package}.gaussian_diffusion")
        self.respace = importlib.import_module(f"{package}.respace")
        noise = self.tensor(draw("noise"))
        self.diffusion.th = type("th", (), {"__getattr__": lambda _, name: getattr(torch, name)})()
        self.diffusion.th.randn_like = lambda x: noise

    def tensor(self, images: np.ndarray):
        """NHWC to theirs."""
        return self.th.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))

    def array(self, tensor) -> np.ndarray:
        """Theirs to NHWC."""
        return np.moveaxis(tensor.detach().numpy(), 1, -1)

    def make(self, chain, mean="EPSILON", variance="FIXED_SMALL", loss="MSE", rescale=False):
        """Their SpacedDiffusion."""
        schedule, steps, spec = chain
        d = self.diffusion
        return self.respace.SpacedDiffusion(
            use_timesteps=self.respace.space_timesteps(steps, spec or [steps]),
            betas=d.get_named_beta_schedule(schedule, steps),
            model_mean_type=d.ModelMeanType[mean],
            model_var_type=d.ModelVarType[variance],
            loss_type=d.LossType[loss],
            rescale_timesteps=rescale,
        )

    def model(self, variance: str, theta=(1.0, 1.0)):
        """`network` as they call it."""

        def call(x, t):
            prediction, v = network(self.th, x, t.double().view(-1, 1, 1, 1), theta)
            return self.th.cat([prediction, v], dim=1) if variance == "LEARNED_RANGE" else prediction

        return call

    def tables(self):
        """Tables of each chain."""
        for chain in CHAINS:
            diffusion = self.make(chain)
            kept = stored(diffusion.num_timesteps)
            yield f"{chain_name(chain)}/timesteps", np.array(diffusion.timestep_map, np.int16)
            for name in TABLES:
                yield f"{chain_name(chain)}/{name}", getattr(diffusion, name)[kept]

    def losses(self):
        """Training losses [b], their parts, and the gradient of their sum by theta."""
        for name, (schedule, steps, mean, variance, kind, rescale) in LOSSES.items():
            diffusion = self.make((schedule, steps, ""), mean, variance, kind, rescale)
            theta = self.th.tensor([1.0, 1.0], dtype=self.th.float64, requires_grad=True)
            t = self.th.from_numpy(times(steps))
            noise = self.tensor(draw("noise"))
            terms = diffusion.training_losses(self.model(variance, theta), self.tensor(clean()), t, noise=noise)
            for part, value in terms.items():
                yield f"losses/{name}/{part}", value.detach().numpy()
            terms["loss"].sum().backward()
            yield f"losses/{name}/gradient", theta.grad.numpy()

    def bounds(self):
        """`calc_bpd_loop`."""
        for name, (schedule, spec, variance) in BOUNDS.items():
            diffusion = self.make((schedule, 1000, spec), variance=variance)
            found = diffusion.calc_bpd_loop(self.model(variance), self.tensor(clean()))
            for part, value in found.items():
                value = value.numpy()
                yield f"bounds/{name}/{part}", value[:, stored(value.shape[1])] if value.ndim == 2 else value

    def steps(self):
        """Single steps down, and one up, without a classifier."""
        yield from self._steps("plain", {})
        for i in STEPS[:-1]:
            diffusion = self.make(STEP_CHAIN)
            up = diffusion.ddim_reverse_sample(self.model(""), self.tensor(noisy(i)), self._at(i))
            yield f"steps/reverse/{i}", self.array(up["sample"])

    def guided_steps(self):
        """Single steps down with a classifier; ADM's release alone."""

        def cond_fn(x, t):
            return SCALE * self.th.cos(x) * (0.5 + 0.0004 * t.double().view(-1, 1, 1, 1))

        yield from self._steps("guided", {"cond_fn": cond_fn, "model_kwargs": {}})

    def _at(self, i: int):
        return self.th.full((SHAPE[0],), i)

    def _steps(self, prefix: str, settings):
        for i in STEPS:
            x, t = self.tensor(noisy(i)), self._at(i)
            for variance in VARIANCES:
                diffusion = self.make(STEP_CHAIN, variance=variance)
                out = diffusion.p_sample(self.model(variance), x, t, **settings)
                yield f"steps/{prefix}/{variance}/{i}", self.array(out["sample"])
            for eta in ETAS:
                out = self.make(STEP_CHAIN).ddim_sample(self.model(""), x, t, eta=eta, **settings)
                yield f"steps/{prefix}/ddim{eta}/{i}", self.array(out["sample"])


def noisy(i: int) -> np.ndarray:
    """Data at the i-th step: anything of about its scale."""
    return 1.1 * draw(f"x{i}")


def make() -> None:
    """Run the official code and write the file."""
    adm, iddpm = Official("guided_diffusion"), Official("improved_diffusion")
    figures = {}
    for part in ("tables", "losses", "bounds", "steps"):
        figures |= dict(getattr(adm, part)())
        for name, value in getattr(iddpm, part)():
            np.testing.assert_array_equal(value, figures[name], err_msg=name)
    np.savez_compressed(FILE, **figures, **dict(adm.guided_steps()))


if __name__ == "__main__":
    make()
