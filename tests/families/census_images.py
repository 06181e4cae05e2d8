"""The census of autoencoders, tokenizers and adversarial networks."""

from genjax.families import autoencoder as autoencoder_family
from genjax.families import biggan as biggan_family
from genjax.families import dvae as dvae_family
from genjax.families import gan, vae, vqvae, vqvae2
from genjax.families import real_nvp as real_nvp_family
from genjax.losses import diff_augment
from genjax.nn import biggan, dcgan, dvae_coders, maxout, mlp, real_nvp, vector_coders
from genjax.nn.layers import quantize
from tests.families.census_rows import Proved, Refused, Rows, to

BATCHES = Proved("tests/generate_test.py::test_batch_size_bounds_what_is_drawn_at_once")

CODERS = [
    Rows(vae.Settings, "vae", "model", {
        "network": to({"name": "mlp", "hidden": (5,), "activation": "tanh"}, "init loss evaluate sample",
                      of={"mlp": mlp.MLPEncoder, "conv": vector_coders.ConvEncoder}),
        "likelihood.name": to("bernoulli", "loss evaluate sample"),
        "likelihood.scale": to(0.3, "init loss evaluate"),
        "latent_dim": to(5, "init loss evaluate sample"),
        "beta": to(3.0, "loss"),
        "kl_annealing_steps": to(7, "loss"),
        "free_bits": to(0.3, "loss"),
        "iwae_samples": to(4, "evaluate"),
        "dtype": to("bfloat16", "loss evaluate sample reconstruct"),
    }),
    Rows(autoencoder_family.Settings, "autoencoder", "model", {
        "network": to({"name": "mlp", "hidden": (5,), "activation": "tanh"}, "init loss evaluate features",
                      of={"mlp": mlp.MLPEncoder, "conv": vector_coders.ConvEncoder}),
        "corruption.name": to("masking", "loss evaluate"),
        "corruption.amount": to(0.2, "loss evaluate"),
        "code_dim": to(5, "init loss evaluate features"),
        "dtype": to("bfloat16", "loss evaluate features"),
    }),
    Rows(real_nvp_family.Settings, "real_nvp", "model", {
        "network": to({"width": 8, "num_res_blocks": 1}, "init loss evaluate sample", of=real_nvp.RealNVP),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(real_nvp.RealNVP, "real_nvp", "model.network", {
        "width": to(8, "init"),
        "num_res_blocks": to(2, "init"),
        "num_scales": to(2, "init loss sample"),
        "num_couplings": to(2, "init loss sample"),
        "num_groups": to(2, "init"),
        "alpha": to(0.1, "loss evaluate sample"),
        "param_dtype": to("bfloat16", "init"),
    }, {"dtype"}),
    Rows(mlp.MLPEncoder, "vae", "model.network", {
        "hidden": to((5,), "init"),
        "activation": to("relu", "init"),
        "param_dtype": to("bfloat16", "init"),
    }, {"out_dim", "dtype"}),
    Rows(vector_coders.ConvEncoder, "conv_vae", "model.network", {
        "width": to(8, "init"),
        "num_downs": to(2, "init"),
        "num_res_blocks": to(2, "init"),
        "res_width": to(4, "init"),
        "param_dtype": to("bfloat16", "init"),
    }, {"out_dim", "dtype"}),
    Rows(quantize.CodebookSettings, "vqvae", "model.codebook", {
        "num_codes": to(8, "init loss encode decode"),
        "dim": to(8, "init loss encode decode"),
        "learning": to("loss", "init loss", model__codebook__restart_threshold=0.0),
        "decay": to(0.9, "loss"),
        "epsilon": to(0.01, "loss"),
        "restart_threshold": to(0.3, "loss"),
    }),
    Rows(vqvae.Settings, "vqvae", "model", {
        "codebook": to({"num_codes": 8}, "init loss evaluate encode", of=quantize.CodebookSettings),
        "width": to(8, "loss encode decode"),
        "num_downs": to(2, "loss encode decode"),
        "num_res_blocks": to(2, "loss encode decode"),
        "res_width": to(4, "loss encode decode"),
        "commitment_cost": to(0.5, "loss"),
        "data_variance": to(0.3, "loss evaluate"),
        "dtype": to("bfloat16", "loss evaluate encode decode"),
    }),
    Rows(vqvae2.Settings, "vqvae2", "model", {
        "codebook": to({"num_codes": 8}, "init loss evaluate encode", of=quantize.CodebookSettings),
        "downs": to((2, 1), "loss encode decode"),
        "width": to(8, "loss encode decode"),
        "num_res_blocks": to(2, "loss encode decode"),
        "res_width": to(4, "loss encode decode"),
        "commitment_cost": to(0.5, "loss"),
        "data_variance": to(0.3, "loss evaluate"),
        "dtype": to("bfloat16", "loss evaluate encode decode"),
    }),
    Rows(dvae_family.Settings, "dvae", "model", {
        "network": to({"width": 8, "channel_mult": (1, 2), "num_blocks": 1, "input_width": 4, "remat": False},
                      "init loss evaluate encode", of=dvae_coders.DVAEDecoder),
        "num_codes": to(8, "init loss evaluate decode"),
        "temperature.start": to(0.8, "loss"),
        "temperature.end": to(0.2, "loss"),
        "temperature.num_steps": to(7, "loss"),
        "kl.weight": to(3.0, "loss"),
        "kl.num_steps": to(7, "loss"),
        "min_log_scale": to(-3.0, "loss evaluate"),
        "dtype": to("bfloat16", "loss evaluate encode decode"),
    }),
    Rows(dvae_coders.DVAEDecoder, "dvae", "model.network", {
        "width": to(8, "init"),
        "channel_mult": to((1, 1), "init"),
        "num_blocks": to(2, "init"),
        "input_width": to(8, "init"),
        "param_dtype": to("bfloat16", "init"),
        "remat": to(True, "init"),
    }, {"out_channels", "dtype"}),
]  # fmt: skip
"""Autoencoders, variational ones, and tokenizers."""

AUGMENT = {
    "policy": to("color", "loss"),
    "translation": to(0.5, "loss", model__augment__policy="translation"),
    "cutout": to(1.0, "loss", model__augment__policy="cutout"),
    "fill": to(0.5, "loss", model__augment__policy="cutout"),
}
BIGGAN = {
    "width": to(4, "init"),
    "remat": to(True, "init"),
    "spectral_eps": to(1e-3, "init"),
    "param_dtype": to("bfloat16", "init"),
}
FEATURES = {"dtype", "image_shape"}

ADVERSARIAL = [
    Rows(gan.Settings, "gan", "model", {
        "generator": to({"name": "mlp", "width": 8, "depth": 1}, "init loss evaluate sample", of=gan.GENERATORS),
        "discriminator": to({"name": "maxout", "width": 8, "depth": 1}, "init loss evaluate", of=gan.DISCRIMINATORS),
        "loss": to("hinge", "loss"),
        "latent_dim": to(3, "init loss evaluate sample"),
        "r1": to({"gamma": 0.3, "interval": 1}, "loss", of=gan.R1),
        "augment": to({"policy": "color"}, "loss", of=diff_augment.make),
        "noise": to("normal", "loss evaluate sample"),
        "discriminator_steps": to(2, "players"),
        "gradient_penalty": to(10.0, "loss"),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(gan.R1, "gan", "model.r1", {"gamma": to(0.3, "loss"), "interval": to(4, "loss")}),
    Rows(gan.Sampling, "dcgan", "sampling", {
        "batch_size": BATCHES,
        "standing_passes": to(3, "sample"),
        "standing_batch": to(8, "sample"),
    }),
    Rows(diff_augment.make, "gan", "model.augment", AUGMENT),
    Rows(maxout.Generator, "gan", "model.generator", {
        "width": to(8, "init"),
        "depth": to(2, "init"),
        "init_range": to(0.2, "init"),
        "param_dtype": to("bfloat16", "init"),
    }, FEATURES),
    Rows(maxout.Discriminator, "gan", "model.discriminator", {
        "width": to(8, "init"),
        "pieces": to(3, "init"),
        "depth": to(2, "init"),
        "dropout_input": to(0.3, "loss"),
        "dropout": to(0.3, "loss"),
        "init_range": to(0.2, "init"),
        "param_dtype": to("bfloat16", "init"),
    }, {"dtype"}),
    Rows(dcgan.Generator, "dcgan", "model.generator", {
        "width": to(4, "init"),
        "base": to(2, "init"),
        "extra_layers": to(1, "init"),
        "momentum": to(0.8, "loss"),
        "param_dtype": to("bfloat16", "init"),
    }, FEATURES),
    Rows(dcgan.Discriminator, "dcgan", "model.discriminator", {
        "width": to(4, "init"),
        "base": to(2, "init"),
        "extra_layers": to(1, "init"),
        "norm": to("none", "init"),
        "param_dtype": to("bfloat16", "init"),
    }, {"dtype"}),
    Rows(biggan_family.Settings, "biggan", "model", {
        "generator": to({"width": 4, "channel_mult": (2, 1), "bottom_size": 2, "z_dim": 4,
                         "attention_resolutions": ()}, "loss sample",
                        of=biggan.Generator),
        "discriminator": to({"width": 4, "channel_mult": (1, 2), "num_downsamples": 1,
                             "attention_resolutions": ()}, "loss evaluate",
                            of=biggan.Discriminator),
        "loss": to("non_saturating", "loss"),
        "discriminator_steps": to(3, "players"),
        "orthogonal": to(0.1, "loss"),
        "r1": to(0.3, "loss"),
        "augment": to({"policy": "color"}, "loss", of=diff_augment.make),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(biggan_family.Sampling, "biggan", "sampling", {
        "truncation": to(0.5, "sample"),
        "standing_passes": to(3, "sample"),
        "standing_batch": to(8, "sample"),
        "batch_size": BATCHES,
    }),
    Rows(biggan.Generator, "biggan", "model.generator", BIGGAN | {
        "channel_mult": to((1, 1), "init"),
        "attention_resolutions": to((4,), "init", model__generator__width=8),
        "depth": to(1, "init"),
        "z_dim": to(8, "init"),
        "shared_dim": to(4, "init"),
        "bottom_size": Refused(4, "draws images of 8x8"),
        "norm_eps": to(1e-3, "init"),
    }, {"num_classes", "dtype", "out_channels"}),
    Rows(biggan.Discriminator, "biggan", "model.discriminator", BIGGAN | {
        "channel_mult": to((2, 2), "init"),
        "attention_resolutions": to((2,), "init", model__discriminator__width=8),
        "depth": to(1, "init", model__discriminator__width=4),
        "num_downsamples": to(2, "init"),
    }, {"num_classes", "dtype"}),
]  # fmt: skip
"""Adversarial networks."""
