"""The census of diffusion models: their settings, what they choose by a name, and their networks."""

from genjax.conditioning.inpainting import Inpaint
from genjax.conditioning.low_res import LowRes
from genjax.diffusion import (
    distillation,
    parameterization,
    samplers,
    schedules,
    thresholding,
    time_samplers,
    weighting,
)
from genjax.families import dalle2, glide, imagen, noisy_classifier
from genjax.families import distillation as student
from genjax.families.shared import diffusion_model as base
from genjax.nn import denoising, dit, efficient_unet, encoder_unet, unet
from tests.families.census_cases import UNET
from tests.families.census_rows import Proved, Refused, Rows, named, to

BATCHES = Proved("tests/generate_test.py::test_batch_size_bounds_what_is_drawn_at_once")
ALL = "loss evaluate sample"
STEPS = {"name": "linear_beta", "num_steps": 10, "beta_end": 0.2}

DIFFUSION = [
    Rows(base.Settings, "ddpm", "model", {
        "schedule": to(STEPS, ALL, of=schedules._MAKERS),
        "parameterization": to({"name": "v"}, ALL, of=parameterization._MAKERS),
        "weighting": to({"name": "p2"}, "loss evaluate", of=weighting._MAKERS),
        "time_sampler": to({"name": "stratified"}, "loss", of=time_samplers._MAKERS),
        "network": to(UNET, "init " + ALL, of=denoising.NETWORKS),
        "objective": to("variational", "loss evaluate", model__learned_variance=True),
        "learned_variance": to(True, "init loss evaluate sample bound"),
        "vb_weight": to(0.5, "loss evaluate", model__learned_variance=True),
        "conditional": to(False, "init " + ALL, model__label_dropout=0.0),
        "label_dropout": to(0.3, "loss"),
        "low_res": to({"size": 2}, "init " + ALL, of=LowRes, model__network=UNET),
        "inpaint": to({"min_side": 0.3}, "init " + ALL, of=Inpaint, model__network=UNET),
        "dtype": to("bfloat16", ALL),
    }),
    Rows(base.Sampling, "ddpm", "sampling", {
        "sampler": to({"name": "ddim"}, "sample fill", of=samplers._MAKERS),
        "num_steps": to("4", "sample fill edit invert"),
        "threshold": to({"name": "none"}, "sample fill edit invert bound", of=thresholding.THRESHOLDS),
        "guidance_scale": to(3.0, "sample"),
        "guidance_interval": to((0.1, 0.5), "sample", sampling__guidance_scale=2.0),
        "guidance_rescale": to(0.7, "sample", sampling__guidance_scale=2.0),
        "trajectory": to(True, "sample"),
        "batch_size": BATCHES,
        "strength": to(0.5, "edit"),
        "resamples": to(2, "fill"),
        "aug_level": to(0.2, "sample evaluate", model__network=UNET, model__low_res={"size": 2, "max_aug_level": 0.5}),
        "guides": Proved(
            "tests/integration/guide_test.py::test_guides_of_flags_and_of_the_config_are_refused_in_one_line"
        ),
        "noise_scale": to(0.9, "sample fill"),
    }),
    Rows(LowRes, "super_resolution", "model.low_res", {
        "size": to(4, "loss sample"),
        "blur": to((0.4, 0.6), "loss"),
        "blur_share": to(0.5, "loss", model__low_res__blur=(0.4, 0.6)),
        "max_aug_level": to(0.7, "loss"),
        "crop_fraction": to(0.5, "loss"),
        "dropout": to(0.3, "loss"),
        "bsr": to(True, "loss"),
    }),
    Rows(Inpaint, "inpaint", "model.inpaint", {
        "min_side": to(0.4, "loss evaluate"),
        "max_side": to(0.7, "loss evaluate"),
        "everything": to(0.4, "loss evaluate"),
    }),
    Rows(glide.Settings, "glide", "model", {
        "text": to({"width": 8, "depth": 1, "num_heads": 2}, "init", of=glide.Text),
        "text_dropout": to(0.4, "loss"),
    }),
    Rows(glide.Text, "glide", "model.text", {
        "width": to(8, "init"),
        "depth": to(2, "init"),
        "num_heads": to(2, "init"),
    }),
    Rows(imagen.Settings, "imagen", "model", {
        "text": to({"width": 8, "num_heads": 2}, "init", of=imagen.Text),
        "text_dropout": to(0.4, "loss"),
    }),
    Rows(imagen.Text, "imagen", "model.text", {
        "width": to(8, "init"),
        "num_heads": to(2, "init"),
    }),
    Rows(dalle2.Settings, "dalle2", "model", {
        "text": to({"width": 8, "depth": 1, "num_heads": 2}, "init", of=dalle2.Text),
        "image": to({"num_tokens": 2}, "init", of=dalle2.ImageEmbedding),
        "text_dropout": to(0.4, "loss"),
        "image_dropout": to(0.4, "loss"),
    }),
    Rows(dalle2.Text, "dalle2", "model.text", {
        "source": to("clip", "init"),
        "width": to(8, "init"),
        "depth": to(2, "init"),
        "num_heads": to(2, "init"),
    }),
    Rows(dalle2.ImageEmbedding, "dalle2", "model.image", {
        "num_tokens": to(2, "init"),
    }),
    Rows(student.Settings, "progressive", "model", {
        "objective": to({"name": "progressive", "num_steps": 1, "weight": {"name": "snr"}}, "loss evaluate",
                        of=distillation._MAKERS),
        "grid": to("8", "loss evaluate sample"),
        "guidance_scale": to(2.0, "loss evaluate"),
    }),
    Rows(student.Sampling, "consistency", "sampling", {
        "num_steps": to("3", "sample"),
        "clip": to(False, "sample"),
        "trajectory": to(True, "sample"),
        "batch_size": BATCHES,
    }),
    Rows(noisy_classifier.Settings, "classifier", "model", {
        "schedule": to(STEPS, "loss evaluate", of=schedules._MAKERS),
        "network": to(UNET | {"name": "encoder_unet", "width": 8}, "init loss evaluate log_prob",
                      of=noisy_classifier.NETWORKS),
        "dtype": to("bfloat16", "loss evaluate log_prob"),
    }),
]  # fmt: skip
"""Settings of diffusion models and of classifiers of noisy images."""

TRACED = "loss evaluate"
STRIDED = {"model__schedule": {"name": "edm"}, "sampling__num_steps": "3"}
SIGMAS = {"model__schedule": {"name": "edm"}, "model__parameterization": {"name": "edm"}}
CHURN = {"sampling__sampler__churn": 5.0, **SIGMAS}


def _scaled(name: str) -> Rows:
    maker = parameterization._MAKERS[name]
    return named(maker, name, "ddpm", "model.parameterization", {"noise_scale": to(2.0, "loss")})


def _churned(name: str) -> Rows:
    fields = {
        "churn": to(7.0, "sample"),
        "churn_min": to(0.1, "sample"),
        "churn_max": to(9.0, "sample"),
        "churn_noise": to(1.1, "sample"),
    }
    return named(samplers._MAKERS[name], name, "edm", "sampling.sampler", fields, ("schedule",), **CHURN)


MAKERS = [
    named(schedules.linear_beta, "linear_beta", "ddpm", "model.schedule", {
        "num_steps": to(20, "loss"),
        "beta_start": to(0.02, "loss"),
        "beta_end": to(0.3, "loss"),
    }, model__schedule__num_steps=10, model__schedule__beta_end=0.2),
    named(schedules.cosine, "cosine", "ddpm", "model.schedule", {
        "num_steps": to(20, "loss"),
        "s": to(0.02, "loss"),
        "max_beta": to(0.9, "loss"),
    }, model__schedule__num_steps=10),
    named(schedules.scaled_linear, "scaled_linear", "ddpm", "model.schedule", {
        "num_steps": to(20, "loss"),
        "beta_start": to(0.002, "loss"),
        "beta_end": to(0.02, "loss"),
    }, model__schedule__num_steps=10),
    named(schedules.from_betas, "from_betas", "ddpm", "model.schedule", {
        "betas": to((0.1, 0.2, 0.4), "loss"),
    }, model__schedule__betas=(0.1, 0.2, 0.3)),
    named(schedules.continuous_cosine, "continuous_cosine", "ddpm", "model.schedule", {
        "logsnr_min": to(-10.0, "loss"),
        "logsnr_max": to(10.0, "loss"),
    }),
    named(schedules.variance_exploding, "variance_exploding", "edm", "model.schedule", {
        "sigma_min": to(0.02, "loss"),
        "sigma_max": to(40.0, "loss"),
    }, model__time_sampler={"name": "uniform"}),
    named(schedules.edm, "edm", "edm", "model.schedule", {
        "sigma_min": to(0.02, "loss"),
        "sigma_max": to(40.0, "loss"),
    }, model__time_sampler={"name": "uniform"}),
    named(schedules.flow, "flow", "ddpm", "model.schedule", {
        "t_max": to(0.9, "loss"),
    }, model__parameterization={"name": "flow"}),
    *(_scaled(name) for name in ("eps", "x0", "v", "flow")),
    named(parameterization.edm, "edm", "edm", "model.parameterization", {"sigma_data": to(0.7, "loss")}),
    named(weighting.min_snr, "min_snr", "ddpm", "model.weighting", {"gamma": to(3.0, "loss")}),
    named(weighting.p2, "p2", "ddpm", "model.weighting", {"k": to(2.0, "loss"), "gamma": to(2.0, "loss")}),
    named(weighting.edm, "edm", "edm", "model.weighting", {"sigma_data": to(0.7, "loss")}),
    named(time_samplers.uniform, "uniform", "ddpm", "model.time_sampler", {}, ("schedule",)),
    named(time_samplers.stratified, "stratified", "ddpm", "model.time_sampler", {}, ("schedule",)),
    named(time_samplers.lognormal, "lognormal", "edm", "model.time_sampler", {
        "mean": to(-1.0, "loss"),
        "std": to(1.0, "loss"),
    }, ("schedule",)),
    named(time_samplers.loss_aware, "loss_aware", "ddpm", "model.time_sampler", {
        "history_per_step": to(5, "init loss"),
        "uniform_prob": to(0.1, "loss"),
    }, ("schedule",)),
    named(samplers.ancestral, "ancestral", "learned", "sampling.sampler", {"variance": to("fixed_large", "sample")}),
    named(samplers.ddim, "ddim", "ddpm", "sampling.sampler", {"eta": to(0.5, "sample")}),
    _churned("euler"),
    _churned("heun"),
    named(samplers.dpmpp_2m, "dpmpp_2m", "ddpm", "sampling.sampler", {"max_slope": to(2.0, "sample fill")}),
    named(samplers.dpmpp_sde, "dpmpp_sde", "ddpm", "sampling.sampler", {"max_slope": to(2.0, "sample fill")}),
    named(thresholding.static, "static", "ddpm", "sampling.threshold", {
        "low": to(-2.0, "sample"),
        "high": to(2.0, "sample"),
    }),
    named(thresholding.dynamic, "dynamic", "ddpm", "sampling.threshold", {
        "quantile": to(0.9, "sample"),
        "cap": to(2.0, "sample"),
    }),
    named(distillation.progressive, "progressive", "progressive", "model.objective", {
        "num_steps": to(1, "loss"),
        "weight": to({"name": "snr"}, TRACED, of=weighting._MAKERS),
    }, ("levels",), model__objective__num_steps=2, model__objective__weight={"name": "truncated_snr"}),
    named(distillation.consistency, "consistency", "consistency", "model.objective", {
        "sigma_data": to(0.7, "loss"),
        "metric": to("l1", "loss"),
        "solver": to("ddim", "loss"),
        "target_decay": to(0.9, "loss"),
    }, ("levels",), model__objective__sigma_data=0.5),
    named(distillation.reflow, "reflow", "reflow", "model.objective", {}, ("levels", "schedule")),
]  # fmt: skip
"""What diffusion models choose by a name: schedules, samplers and their like."""

HEADS = {"model__network__attention_resolutions": (4,), "model__network__width": 8}
UNETS = {
    "width": to(8, "init"),
    "channel_mult": to((1, 2), "init"),
    "num_res_blocks": to(2, "init"),
    "attention_resolutions": to((4,), "init"),
    "num_heads": to(2, "init", **HEADS),
    "head_channels": to(4, "init", **HEADS),
    "dropout": to(0.3, "loss"),
    "adaptive_norm": to(True, "init"),
    "resblock_updown": to(True, "init", model__network__channel_mult=(1, 1)),
    "new_attention_order": to(True, "init", **HEADS),
    "variant": to("ddpm", "init", model__network__adaptive_norm=False),
    "num_groups": to(1, "init"),
    "time_scale": to(10.0, "init"),
    "image_size": to(8, "init", model__network__attention_resolutions=(4,), model__network__channel_mult=(1, 1)),
    "param_dtype": to("bfloat16", "init"),
    "remat": to(True, "init"),
    "middle_attention": to(True, "init"),
}
"""The fields of all U-Nets."""
GIVEN = {"out_channels", "dtype", "num_classes", "null_class"}
LOWEST = {"model__network__attention_resolutions": (2,), "model__network__width": 8}

NETWORKS = [
    Rows(unet.UNet, "unet", "model.network", UNETS | {"patch_size": to(2, "init")}, GIVEN | {"aug_embed"}),
    Rows(efficient_unet.EfficientUNet, "efficient", "model.network", UNETS | {
        "channel_mult": to((2,), "init"),
        "num_res_blocks": to((2,), "init"),
        "attention_resolutions": to((), "init"),
        "num_heads": to(2, "init"),
        "head_channels": to(2, "init"),
        "resblock_updown": Refused(True, "no resblock_updown"),
        "new_attention_order": to(True, "init", model__network__width=8, model__network__num_heads=2),
        "image_size": to(8, "init", model__network__channel_mult=(1, 1), model__network__num_res_blocks=(1, 1)),
        "middle_attention": Refused(True, "no middle_attention"),
        "patch_size": to(2, "init", model__network__image_size=8, model__network__attention_resolutions=()),
        "text_only": to(True, "init"),
    }, GIVEN | {"aug_embed"}),
    Rows(encoder_unet.EncoderUNet, "classifier", "model.network", UNETS, {"out_channels", "dtype"}),
    Rows(dit.DiT, "ddpm", "model.network", {
        "width": to(8, "init"),
        "depth": to(2, "init"),
        "num_heads": to(2, "init", model__network__width=8),
        "patch_size": to(4, "init"),
        "mlp_ratio": to(2, "init"),
        "time_scale": to(10.0, "init"),
        "param_dtype": to("bfloat16", "init"),
        "remat": to(True, "init"),
    }, GIVEN),
]  # fmt: skip
"""The networks of diffusion models."""
