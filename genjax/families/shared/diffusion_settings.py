"""The settings that all families of diffusion models have in common."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Settings(NamedTuple):
    """`config.model`, but for the fields of one family alone.

    Attributes:
        schedule, parameterization, weighting, time_sampler: "name" and fields, as the modules of `genjax.diffusion`
            of these names have them.
        network: "name", one of `genjax.nn.denoising.NETWORKS`, and fields of its module.
        objective: "simple", L_simple, with `learned_variance` L_hybrid; or "variational", L_vlb (loss_aware times).
        learned_variance: whether the network also predicts the variance (Improved DDPM).
        vb_weight: of the variational term in L_hybrid: 1 as ADM, T / 1000 as Improved DDPM.
        conditional: on the class label.
        label_dropout: share of labels replaced by the null class, for classifier-free guidance.
        low_res: what the model upsamples, fields of `genjax.conditioning.low_res.LowRes`; empty: nothing, it draws.
        inpaint: what is erased in training, to be filled in, fields of `genjax.conditioning.inpainting.Inpaint`; empty:
            nothing.
        dtype: of the network's computation; parameters stay float32.
    """

    schedule: Mapping[str, Any]
    parameterization: Mapping[str, Any]
    weighting: Mapping[str, Any]
    time_sampler: Mapping[str, Any]
    network: Mapping[str, Any]
    objective: str = "simple"
    learned_variance: bool = False
    vb_weight: float = 1.0
    conditional: bool = False
    label_dropout: float = 0.0
    low_res: Mapping[str, Any] = MappingProxyType({})
    inpaint: Mapping[str, Any] = MappingProxyType({})
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`.

    Attributes:
        sampler, threshold: "name" and fields, as in `genjax.diffusion.samplers` and `genjax.diffusion.thresholding`.
        num_steps: a respacing, see `genjax.diffusion.grids.make`: "25", "ddim25", "10,10,3,2,2".
        guidance_scale: s in eps_u + s (eps_c - eps_u); 1 = no guidance.
        guidance_interval: (low, high) in sigma / alpha: guide only there.
        guidance_rescale: phi of arXiv:2305.08891.
        trajectory: while training, also write the way from noise to image as a GIF.
        batch_size: images sampled at once, over all devices.
        strength: share of the steps that are made when starting from an image (SDEdit).
        resamples: times that each stretch is walked when inpainting; RePaint: 10.
        aug_level: of a super-resolution model: noise on the low-resolution image, up to its max_aug_level.
        guides: from outside, as sample.py --guide takes them: ("classifier:WORKDIR:3.0",).
        noise_scale: times the noise that sampling starts from; GLIDE's upsampler: .997.
    """

    sampler: Mapping[str, Any]
    num_steps: str | int
    threshold: Mapping[str, Any]
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, ...] = ()
    guidance_rescale: float = 0.0
    trajectory: bool = False
    batch_size: int = 64
    strength: float = 1.0
    resamples: int = 1
    aug_level: float = 0.0
    guides: tuple[str, ...] = ()
    noise_scale: float = 1.0
