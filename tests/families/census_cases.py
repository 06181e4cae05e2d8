"""The configs that the census of settings walks: the tiny variant of each family's, made smaller still."""

import importlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from genjax.families.interfaces import Tokenizer, Weights
from genjax.typing import DataSpec
from tests.families import toy_clip
from tests.families.census import Case, build, changed

UNET = {"name": "unet", "width": 4, "channel_mult": (1,), "num_res_blocks": 1, "attention_resolutions": (),
        "num_heads": 1, "num_groups": 2, "middle_attention": False}  # fmt: skip
NO_WEIGHTS = Weights({}, (), {})


def _tokenizer(grids: tuple[tuple[int, int], ...], size: int = 4) -> Tokenizer:
    """A tokenizer whose codes are all 0 and whose images are black."""

    def encode(weights, images):
        return tuple(jnp.zeros((images.shape[0], *grid), jnp.int32) for grid in grids)

    def decode(weights, codes):
        return jnp.full((codes[0].shape[0], size, size, 1), -1.0)

    return Tokenizer(encode, decode, 5, grids, (size, size, 1))


def _case(name: str, spec: DataSpec, parents=None, frozen=None, changes=None, variant: str = "tiny") -> Case:
    config: ConfigDict = importlib.import_module(f"configs.{name}").get_config(variant)
    case = Case(config, spec, parents or {}, frozen or {})
    for path, value in (changes or {}).items():
        case = changed(case, path, value)
    return case


PLAIN = DataSpec((4, 4, 1))
LABELLED = DataSpec((4, 4, 1), 3)
CAPTIONED = DataSpec((4, 4, 1), has_text=True, text_length=toy_clip.LENGTH, vocab_size=toy_clip.VOCAB)
DIT = {"name": "dit", "patch_size": 2, "width": 4, "depth": 1, "num_heads": 1}
DDPM = {
    "model.network": DIT,
    "model.schedule": {"name": "cosine", "num_steps": 10},
    "sampling.num_steps": "3",
    "sampling.trajectory": False,
}


def ddpm(spec: DataSpec = LABELLED, **changes) -> Case:
    """The class-conditional DDPM of digits."""
    return _case("ddpm_digits", spec, changes=DDPM | changes)


def teacher() -> tuple[dict, dict]:
    """(interface, weights) of a DDPM as the parent of a student."""
    case = ddpm()
    family = build(case)
    batch = {"image": jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)}
    params, extra = jax.eval_shape(family.init, jax.random.key(0), batch)
    return {"teacher": family.interface}, {"teacher": Weights(params, extra, {})}


def make(name: str) -> Case:
    """The case of a name."""
    return CASES[name]()


def _student(name: str, **changes) -> Case:
    parents, frozen = teacher()
    return _case(name, LABELLED, parents, frozen, {"model.grid": "4", "sampling.num_steps": "2"} | changes)


def _text_diffusion(name: str, network: dict, **how) -> Case:
    changes = DDPM | {"model.network": network}
    case = _case(name, CAPTIONED, changes=changes | how.pop("changes", {}), **how)
    return case


TEXT_UNET = UNET | {"attention_resolutions": (4,)}
TOKENIZER = {"parents": {"tokenizer": _tokenizer(((2, 2),))}, "frozen": {"tokenizer": NO_WEIGHTS}}
FINE_TOKENIZER = {"parents": {"tokenizer": _tokenizer(((4, 4),), 8)}, "frozen": {"tokenizer": NO_WEIGHTS}}
TWO_LEVELS = {"parents": {"tokenizer": _tokenizer(((1, 1), (2, 2)))}, "frozen": {"tokenizer": NO_WEIGHTS}}
CLIP = {"parents": {"clip": toy_clip.CLIP}, "frozen": toy_clip.FROZEN}
TRANSFORMER = {"width": 4, "depth": 1, "num_heads": 1}
CODE_NETWORKS = {
    "gated_pixelcnn": {"width": 4, "depth": 2, "kernel_size": 3, "first_kernel": 3, "head_width": 4},
    "transformer": TRANSFORMER,
    "pixelsnail": {"width": 4, "num_blocks": 1, "num_res_blocks": 1, "num_heads": 1, "key_dim": 4},
}


def code_prior(name: str) -> Case:
    """A prior over one grid of codes, by the network of a name."""
    networks = {"level_0": {"name": name, **CODE_NETWORKS[name]}}
    return _case("vqvae_prior_digits", LABELLED, changes={"model.networks": networks}, **TOKENIZER)


def _biggan(**changes) -> Case:
    generator = {"width": 2, "channel_mult": (2, 1), "bottom_size": 2, "z_dim": 4, "shared_dim": 2,
                 "attention_resolutions": ()}  # fmt: skip
    discriminator = {"width": 2, "channel_mult": (1, 2), "num_downsamples": 1, "attention_resolutions": ()}
    parts = {"generator": generator, "discriminator": discriminator}
    sizes = {f"model.{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}
    return _case("biggan_digits", LABELLED, changes=sizes | changes)


SMALL_CLIP = {"model.image.patch_size": 2, "model.image.width": 4, "model.image.num_heads": 1, "model.dim": 4,
              "model.text": {"width": 4, "depth": 1, "num_heads": 1}}  # fmt: skip
COLOUR = DataSpec((4, 4, 3), has_text=True, text_length=3, vocab_size=5)
BEIT = {"model.network.width": 4, "model.network.depth": 2, "model.network.num_heads": 1, "model.network.patch_size": 2,
        "model.network.mlp_ratio": 1}  # fmt: skip
IMAGEN_TEXT = {"parents": {"text": toy_clip.TEXT}, "frozen": {"text": toy_clip.FROZEN["clip"]}}
WORDS = DataSpec((4, 4, 1), has_text=True, text_length=16, vocab_size=300)

CASES = {
    "ddpm": ddpm,
    "learned": lambda: ddpm(**{"model.learned_variance": True, "sampling.sampler": {"name": "ancestral"}}),
    "guided": lambda: ddpm(**{"sampling.guidance_scale": 2.0}),
    "unet": lambda: ddpm(**{"model.network": UNET}),
    "super_resolution": lambda: ddpm(**{
        "model.network": UNET, "model.low_res": {"size": 2, "max_aug_level": 0.5, "dropout": 0.1}}),
    "inpaint": lambda: ddpm(**{"model.inpaint": {"min_side": 0.3, "max_side": 0.6, "everything": 0.2}}),
    "edm": lambda: ddpm(**{"model.schedule": {"name": "edm"}, "model.parameterization": {"name": "edm"},
                           "model.time_sampler": {"name": "lognormal"}}),  # fmt: skip
    "efficient": lambda: _text_diffusion(
        "imagen_base64", UNET | {"name": "efficient_unet", "num_res_blocks": (1,), "attention_resolutions": (2,)},
        changes={"model.text": {"width": 4, "num_heads": 1}}, **IMAGEN_TEXT),
    "glide": lambda: _text_diffusion("glide_base64", TEXT_UNET, changes={"model.text": TRANSFORMER}),
    "imagen": lambda: _text_diffusion("imagen_base64", TEXT_UNET, **IMAGEN_TEXT,
                                      changes={"model.text": {"width": 4, "num_heads": 1}}),
    "dalle2": lambda: _case(
        "dalle2_decoder64", toy_clip.SPEC, **CLIP,
        changes=DDPM | {"model.network": TEXT_UNET, "model.text": TRANSFORMER | {"source": "own"}},
    ),
    "clip_prior": lambda: _case(
        "dalle2_prior", toy_clip.SPEC, **CLIP,
        changes={"model.network": TRANSFORMER, "model.schedule": {"name": "cosine", "num_steps": 10},
                 "sampling.num_steps": "3"},
    ),
    "clip_ar_prior": lambda: _case(
        "dalle2_ar_prior", toy_clip.SPEC, **CLIP,
        changes={"model.network": TRANSFORMER, "model.num_axes": 2, "model.num_codes": 4, "model.num_dots": 4},
    ),
    "progressive": lambda: _student("progressive_digits", **{"model.objective.num_steps": 2}),
    "consistency": lambda: _student("consistency_digits"),
    "reflow": lambda: _student("reflow_digits"),
    "classifier": lambda: _case(
        "classifier_digits", LABELLED,
        changes={"model.network": UNET | {"name": "encoder_unet", "dropout": 0.1}, "model.schedule.num_steps": 10},
    ),
    "clip": lambda: _case("clip_shapes", COLOUR, changes=SMALL_CLIP),
    "noisy_clip": lambda: _case("clip_noisy_shapes", COLOUR, changes=SMALL_CLIP | {"model.schedule.num_steps": 10}),
    "clip_resnet": lambda: _case(
        "clip_rn50", COLOUR._replace(image_shape=(32, 32, 3)),
        changes={"model.image": {"name": "resnet", "width": 2, "depths": (1, 1), "num_heads": 1}, "model.dim": 4,
                 "model.text": SMALL_CLIP["model.text"]},
    ),
    "vae": lambda: _case("vae_digits", PLAIN, changes={"model.network.hidden": (4,), "model.iwae_samples": 3}),
    "conv_vae": lambda: _case("vae_digits", PLAIN, changes={"model.iwae_samples": 3, "model.network": {
        "name": "conv", "width": 4, "num_downs": 1, "num_res_blocks": 1, "res_width": 2}}),
    "autoencoder": lambda: _case("dae_digits", PLAIN, changes={"model.network": {"name": "mlp", "hidden": (4,),
                                                                                 "activation": "tanh"}}),
    "gan": lambda: _case("gan_digits", PLAIN, changes={
        "model.generator": {"name": "mlp", "width": 4, "depth": 1}, "model.latent_dim": 2,
        "model.discriminator": {"name": "maxout", "width": 4, "depth": 1, "pieces": 2}}),
    "dcgan": lambda: _case("dcgan_digits", PLAIN._replace(image_shape=(8, 8, 1)), changes={
        "model.generator": {"name": "dcgan", "width": 2}, "model.latent_dim": 2,
        "model.discriminator": {"name": "dcgan", "width": 2, "norm": "layer"}}),
    "biggan": _biggan,
    "vqvae": lambda: _case("vqvae_digits", PLAIN, changes={"model.width": 4, "model.res_width": 2}),
    "vqvae2": lambda: _case("vqvae2_digits", PLAIN._replace(image_shape=(8, 8, 1)), changes={
        "model.width": 4, "model.res_width": 2, "model.downs": (1, 1)}),
    "dvae": lambda: _case("dvae_digits", PLAIN, changes={"model.network.width": 4, "model.network.input_width": 4}),
    "pixelcnnpp": lambda: _case("pixelcnnpp_digits", LABELLED, changes={
        "model.network.width": 4, "model.network.num_res_blocks": 1, "model.network.num_levels": 1}),
    "real_nvp": lambda: _case("real_nvp_digits", PLAIN, changes={
        "model.network.num_scales": 1, "model.network.num_couplings": 1}),
    "gated_pixelcnn": lambda: code_prior("gated_pixelcnn"),
    "code_transformer": lambda: code_prior("transformer"),
    "pixelsnail": lambda: code_prior("pixelsnail"),
    "hierarchical_prior": lambda: _case("vqvae2_prior_digits", LABELLED, **TWO_LEVELS, changes={
        "model.networks": {f"level_{level}": {"name": "transformer", **TRANSFORMER} for level in range(2)},
        "model.context": {"width": 4, "num_blocks": 1, "dropout": 0.0}}),
    "dalle": lambda: _case("dalle_shapes", CAPTIONED, **TOKENIZER, changes={"model.network": TRANSFORMER | {
        "kernel_size": 3}}),
    "beit": lambda: _case("beit_shapes", PLAIN._replace(image_shape=(8, 8, 1)), **FINE_TOKENIZER, changes=BEIT | {
        "model.masking": {"num_masked": 2, "min_block": 1, "min_aspect": 0.3}}),
    "image_classifier": lambda: _case("beit_finetune_shapes", LABELLED, changes=BEIT),
    "bert": lambda: _case("text_minilm", WORDS, changes={"model.network.width": 4, "model.network.num_heads": 1,
                                                         "model.network.mlp_width": 4}),
    "t5": lambda: _case("text_t5_xxl", WORDS, changes={"model.network.width": 4, "model.network.num_heads": 1,
                                                       "model.network.mlp_width": 4}),
}  # fmt: skip
"""Name -> what makes the case."""
