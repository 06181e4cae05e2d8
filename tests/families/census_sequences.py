"""The census of whatever draws codes or pixels one by one, and of what encodes images and texts."""

from genjax.diffusion import samplers, schedules, thresholding
from genjax.families import beit as beit_family
from genjax.families import clip as clip_family
from genjax.families import clip_ar_prior, clip_prior, code_prior, image_classifier, text_encoder
from genjax.families import dalle as dalle_family
from genjax.families import pixelcnnpp as pixelcnnpp_family
from genjax.nn import (
    beit,
    bert,
    clip_resnet,
    clip_text,
    code_networks,
    dalle,
    embedding_code_transformer,
    pixelcnn,
    pixelcnnpp,
    pixelsnail,
    prior_transformer,
    t5,
    transformer,
    vit,
)
from tests.families.census_rows import Proved, Refused, Rows, to

BATCHES = Proved("tests/generate_test.py::test_batch_size_bounds_what_is_drawn_at_once")
STEPS = {"name": "linear_beta", "num_steps": 10, "beta_end": 0.2}
BRANCHES = {
    "width": to(8, "init"),
    "depth": to(2, "init"),
    "num_heads": to(2, "init"),
    "dropout": to(0.3, "loss"),
    "param_dtype": to("bfloat16", "init"),
    "remat": to(True, "init"),
}
"""The fields of most transformers."""
MLP = {"mlp_ratio": to(2, "init"), "activation": to("relu", "init")}
GIVEN_CODES = {"num_codes", "grid", "num_classes", "null_class", "dtype"}

DECODING = {
    "guidance_scale": to(5.0, "sample"),
    "temperature": to(0.5, "sample"),
    "top_k": to(2.0, "sample"),
    "top_p": to(0.9, "sample"),
    "batch_size": BATCHES,
}
"""The sampling settings of whatever draws codes."""

AUTOREGRESSIVE = [
    Rows(pixelcnnpp_family.Settings, "pixelcnnpp", "model", {
        "network": to({"width": 8, "num_res_blocks": 1, "num_levels": 2}, "loss evaluate", of=pixelcnnpp.PixelCNNpp),
        "num_components": to(5, "loss evaluate sample"),
        "conditional": to(False, "loss evaluate sample"),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(pixelcnnpp_family.Sampling, "pixelcnnpp", "sampling", {"batch_size": BATCHES}),
    Rows(pixelcnnpp.PixelCNNpp, "pixelcnnpp", "model.network", {
        "width": to(8, "init"),
        "num_res_blocks": to(2, "init"),
        "num_levels": to(2, "init"),
        "dropout": to(0.3, "loss"),
        "param_dtype": to("bfloat16", "init"),
        "remat": to(True, "init"),
    }, {"out_channels", "num_classes", "dtype"}),
    Rows(code_prior.Settings, "hierarchical_prior", "model", {
        "networks": to({f"level_{level}": {"name": "transformer", "width": 8, "depth": 1, "num_heads": 1}
                        for level in range(2)}, "init loss evaluate sample", of=code_prior.NETWORKS),
        "context": to({"width": 8, "num_blocks": 1}, "init loss evaluate sample", of=code_networks.CodeContext),
        "conditional": to(False, "loss evaluate sample", model__label_dropout=0.0,
                          sampling__guidance_scale=1.0),
        "label_dropout": to(0.3, "loss"),
        "code_noise": to(0.2, "loss"),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(code_networks.CodeContext, "hierarchical_prior", "model.context", {
        "width": to(8, "init"),
        "num_blocks": to(2, "init"),
        "dropout": to(0.3, "loss"),
        "param_dtype": to("bfloat16", "init"),
    }, {"num_codes", "grid", "dtype"}),
    Rows(code_prior.OPTIONS, "code_transformer", "sampling", DECODING),
    Rows(transformer.CodeTransformer, "code_transformer", "model.networks.level_0", BRANCHES | MLP, GIVEN_CODES),
    Rows(pixelcnn.GatedPixelCNN, "gated_pixelcnn", "model.networks.level_0", {
        "width": to(8, "init"),
        "depth": to(3, "init"),
        "kernel_size": to(5, "init"),
        "first_kernel": to(5, "init"),
        "head_width": to(8, "init"),
        "dropout": to(0.3, "loss"),
        "param_dtype": to("bfloat16", "init"),
        "remat": to(True, "init"),
    }, GIVEN_CODES),
    Rows(pixelsnail.PixelSNAIL, "pixelsnail", "model.networks.level_0", {
        "width": to(8, "init"),
        "num_blocks": to(2, "init"),
        "num_res_blocks": to(2, "init"),
        "num_heads": to(2, "init"),
        "key_dim": to(8, "init"),
        "dropout": to(0.3, "loss"),
        "param_dtype": to("bfloat16", "init"),
        "remat": to(True, "init"),
    }, GIVEN_CODES),
    Rows(dalle_family.Settings, "dalle", "model", {
        "network": to({"width": 8, "depth": 1, "num_heads": 1, "kernel_size": 3}, "init loss evaluate sample",
                      of=dalle.DalleTransformer),
        "text_weight": to(0.3, "loss"),
        "text_dropout": to(0.3, "loss"),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(dalle_family.OPTIONS, "dalle", "sampling", DECODING),
    Rows(dalle.DalleTransformer, "dalle", "model.network", BRANCHES | MLP | {
        "attention": to("dense", "init"),
        "kernel_size": to(5, "init", model__network__depth=4),
    }, {"vocab_size", "text_length", "num_codes", "grid", "dtype"}),
]  # fmt: skip
"""Whatever draws a pixel or a code at a time."""

ENCODERS = [
    Rows(clip_family.Settings, "noisy_clip", "model", {
        "image": to({"name": "vit", "patch_size": 4, "width": 4, "depth": 1, "num_heads": 1, "time": "sinusoids"},
                    "init loss evaluate encode_image", of=clip_family.TOWERS),
        "text": to({"width": 8, "depth": 1, "num_heads": 1}, "init loss evaluate encode_text", of=clip_text.TextTower),
        "dim": to(8, "loss evaluate encode_image encode_text"),
        "schedule": to(STEPS, "loss evaluate", of=schedules._MAKERS),
        "mean": to((0.4,), "loss evaluate encode_image"),
        "std": to((0.3,), "loss evaluate encode_image"),
        "temperature": to(0.1, "init"),
        "dtype": to("bfloat16", "loss evaluate encode_image encode_text"),
    }),
    Rows(vit.VisionTransformer, "noisy_clip", "model.image", BRANCHES | MLP | {
        "patch_size": to(4, "init"),
        "eps": to(1e-3, "init"),
        "patch_bias": to(True, "init"),
        "norm_in": to(False, "init"),
        "time": to("table", "init", model__image__num_times=10),
        "num_times": to(20, "init", model__image__time="table", model__image__num_times=10),
        "time_scale": to(10.0, "init"),
    }, {"out_channels", "dtype"}),
    Rows(vit.VisionTransformer, "clip", "model.image", {"pool": to("mean", "init")}, {"out_channels", "dtype"}),
    Rows(clip_text.TextTower, "clip", "model.text", BRANCHES | MLP | {
        "vocab_size": to(9, "init"),
        "length": to(6, "init"),
        "eps": to(1e-3, "init"),
        "table_std": to(0.1, "init"),
    }, {"out_channels", "dtype"}),
    Rows(clip_resnet.ClipResNet, "clip_resnet", "model.image", {
        "width": to(4, "init"),
        "depths": to((1, 2), "init"),
        "num_heads": to(2, "init"),
        "param_dtype": to("bfloat16", "init"),
    }, {"out_channels", "dtype"}),
    Rows(beit_family.Settings, "beit", "model", {
        "network": to({"patch_size": 2, "width": 8, "depth": 2, "num_heads": 1}, "init loss evaluate features",
                      of=beit.Beit),
        "masking": to({"num_masked": 1, "min_block": 1}, "loss evaluate", of=beit_family.Masking),
        "tokenizer_size": Refused(16, "16x16 have 8x8 codes"),
        "feature_depth": to(2, "features"),
        "dtype": to("bfloat16", "loss evaluate features"),
    }),
    Rows(beit_family.Masking, "beit", "model.masking", {
        "num_masked": to(3, "loss evaluate"),
        "min_block": to(2, "loss evaluate"),
        "min_aspect": to(0.5, "loss evaluate"),
    }),
    Rows(image_classifier.Settings, "image_classifier", "model", {
        "network": to({"patch_size": 2, "width": 8, "depth": 2, "num_heads": 1}, "init loss evaluate logits",
                      of=beit.Beit),
        "label_smoothing": to(0.2, "loss"),
        "dtype": to("bfloat16", "loss evaluate logits"),
    }),
    Rows(beit.Beit, "image_classifier", "model.network", {
        "patch_size": to(4, "init"),
        "width": to(8, "init"),
        "depth": to(3, "init"),
        "num_heads": to(2, "init"),
        "mlp_ratio": to(2, "init"),
        "layer_scale": to(0.3, "init"),
        "init_std": to(0.2, "init"),
        "drop_path": to(0.3, "loss"),
        "param_dtype": to("bfloat16", "init"),
        "remat": to(True, "init"),
    }, {"dtype", "shared_bias", "masks"}),
    Rows(text_encoder.Settings, "bert", "model", {
        "network": to({"name": "bert", "vocab_size": 300, "width": 8, "depth": 1, "num_heads": 1, "mlp_width": 4},
                      "init encode", of=text_encoder.NETWORKS),
        "unit_pooled": to(False, "encode"),
        "dtype": to("bfloat16", "encode"),
    }),
    Rows(bert.BertEncoder, "bert", "model.network", {
        "vocab_size": to(400, "init"),
        "width": to(8, "init"),
        "depth": to(2, "init"),
        "num_heads": to(2, "init"),
        "mlp_width": to(8, "init"),
        "max_length": to(100, "init"),
        "num_types": to(3, "init"),
        "eps": to(1e-3, "init"),
        "param_dtype": to("bfloat16", "init"),
    }, {"dtype"}),
    Rows(t5.T5Encoder, "t5", "model.network", {
        "vocab_size": to(400, "init"),
        "width": to(8, "init"),
        "depth": to(2, "init"),
        "num_heads": to(2, "init"),
        "head_dim": to(4, "init"),
        "mlp_width": to(8, "init"),
        "gated": to(False, "init"),
        "eps": to(1e-3, "init"),
        "num_buckets": to(16, "init"),
        "max_distance": to(16, "init", model__network__num_buckets=8),
        "param_dtype": to("bfloat16", "init"),
    }, {"dtype"}),
    Rows(clip_prior.Settings, "clip_prior", "model", {
        "schedule": to(STEPS, "loss evaluate sample", of=schedules._MAKERS),
        "network": to({"width": 8, "depth": 1, "num_heads": 1}, "loss evaluate sample",
                      of=prior_transformer.PriorTransformer),
        "text_dropout": to(0.3, "loss"),
        "scale": to(2.0, "init"),
        "fit_steps": to(3, "loss"),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(clip_prior.Sampling, "clip_prior", "sampling", {
        "sampler": to({"name": "ddim"}, "sample", of=samplers._MAKERS),
        "num_steps": to("4", "sample"),
        "threshold": to({"name": "static"}, "sample", of=thresholding.THRESHOLDS),
        "guidance_scale": to(2.0, "sample"),
        "candidates": to(3, "sample"),
        "batch_size": BATCHES,
    }),
    Rows(prior_transformer.PriorTransformer, "clip_prior", "model.network", BRANCHES, {"dim", "dtype"}),
    Rows(clip_ar_prior.Settings, "clip_ar_prior", "model", {
        "network": to({"width": 8, "depth": 1, "num_heads": 1}, "loss evaluate sample",
                      of=embedding_code_transformer.EmbeddingCodeTransformer),
        "num_axes": to(3, "init loss evaluate sample"),
        "num_codes": to(8, "init loss evaluate sample"),
        "num_dots": to(8, "init loss evaluate sample"),
        "span": to(3.0, "loss evaluate sample"),
        "fit_steps": to(7, "loss"),
        "text_dropout": to(0.3, "loss"),
        "dtype": to("bfloat16", "loss evaluate sample"),
    }),
    Rows(clip_ar_prior.Sampling, "clip_ar_prior", "sampling", DECODING | {"candidates": to(3, "sample")}),
    Rows(embedding_code_transformer.EmbeddingCodeTransformer, "clip_ar_prior", "model.network", BRANCHES,
         {"num_axes", "num_codes", "num_dots", "text_length", "dtype"}),
]  # fmt: skip
"""What encodes images and texts, and draws embeddings."""
