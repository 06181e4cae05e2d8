"""Fresh parameters and samples: every draw has a key of its own, which comes from the key that is given."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from genjax.configs import (
    ae_digits,
    beit_base,
    beit_finetune_imagenet,
    biggan_digits,
    clip_shapes,
    dcgan_digits,
    dvae_digits,
    gan_digits,
    real_nvp_digits,
    vae_digits,
    vqvae2_digits,
    vqvae_digits,
)
from genjax.configs.recipes import dalles, priors
from genjax.families import registry
from genjax.families.interfaces import Conditions, Tokenizer, Weights
from genjax.typing import DataSpec
from tests.families import toy_clip
from tests.families.draws import repeated, trace

KEY, OTHER = jax.random.key(11), jax.random.key(12)
SPEC = DataSpec((8, 8, 1), num_classes=10)
TEXTS = DataSpec((32, 32, 3), has_text=True, text_length=6, vocab_size=40)


def tokenizer(*grids):
    def encode(weights, images):
        return tuple(jnp.zeros((len(images), *grid), jnp.int32) for grid in grids)

    return Tokenizer(encode, lambda weights, codes: jnp.zeros((len(codes[0]), 8, 8, 1)), 5, grids, (8, 8, 1))


def tiny(module, spec=SPEC, codebook=(), **parents):
    config = module.get_config("tiny")
    for name, value in dict(codebook).items():
        config.model.codebook[name] = value
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec, parents)


def code_prior():
    networks = [priors.transformer(width=8, depth=1, num_heads=2)] * 2
    config = priors.code_prior(*networks)
    config.model.context.update(width=4, num_blocks=1)
    return registry.build("code_prior", config.model.to_dict(), {}, SPEC, {"tokenizer": tokenizer((2, 2), (4, 4))})


def dalle():
    config = dalles.dalle()
    config.model.network.update(width=8, depth=1, num_heads=2, kernel_size=3)
    spec = DataSpec((8, 8, 1), has_text=True, text_length=6, vocab_size=40)
    return registry.build("dalle", config.model.to_dict(), {}, spec, {"tokenizer": tokenizer((4, 4))})


def real_nvp():
    config = real_nvp_digits.get_config("tiny")
    config.model.network.update(num_couplings=1, num_res_blocks=0)
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), SPEC, {})


def clip_ar_prior():
    network = {"width": 8, "depth": 1, "num_heads": 2}
    model = {"network": network, "num_axes": 3, "num_codes": 6, "num_dots": 8}
    return registry.build("clip_ar_prior", model, {}, toy_clip.SPEC, {"clip": toy_clip.CLIP})


FAMILIES = {
    "autoencoder": partial(tiny, ae_digits),
    "beit": partial(tiny, beit_base, tokenizer=tokenizer((4, 4))),
    "biggan": partial(tiny, biggan_digits),
    "clip": partial(tiny, clip_shapes, TEXTS),
    "clip_ar_prior": clip_ar_prior,
    "code_prior": code_prior,
    "dalle": dalle,
    "dcgan": partial(tiny, dcgan_digits),
    "dvae": partial(tiny, dvae_digits),
    "gan": partial(tiny, gan_digits),
    "image_classifier": partial(tiny, beit_finetune_imagenet),
    "real_nvp": real_nvp,
    "vae": partial(tiny, vae_digits),
    "vqvae": partial(tiny, vqvae_digits),
    "vqvae2": partial(tiny, vqvae2_digits, codebook={"learning": "loss", "restart_threshold": 0.0}),
}
SAMPLERS = ("biggan", "clip_ar_prior", "code_prior", "dalle", "dcgan", "gan", "real_nvp", "vae")


def examples(name, count=2):
    shape, length = {"clip": ((32, 32, 3), 6), "clip_ar_prior": (toy_clip.SHAPE, toy_clip.LENGTH)}.get(
        name, ((8, 8, 1), 6)
    )
    return {
        "image": jnp.zeros((count, *shape)),
        "label": jnp.zeros(count, jnp.int32),
        "tokens": jnp.ones((count, length), jnp.int32),
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_fresh_parameters(name):
    family = FAMILIES[name]()
    made = trace(lambda key: family.init(key, examples(name)), KEY)
    found, other = made(KEY), made(OTHER)
    assert found and not repeated(found)
    assert not {draw.key for draw in found} & {draw.key for draw in other}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples(name):
    family, count = FAMILIES[name](), 3
    params, extra = jax.eval_shape(family.init, KEY, examples(name))
    frozen = toy_clip.FROZEN if name == "clip_ar_prior" else {"tokenizer": Weights({}, (), {})}
    conditions = Conditions.of_batch(examples(name, count))

    def sample(params, extra, key):
        draw = family.interface.sample or family.interface.sample_embeddings
        return draw(Weights(params, extra, frozen), conditions, jnp.arange(count), key)

    made = trace(sample, params, extra, KEY)
    found, other = made(params, extra, KEY), made(params, extra, OTHER)
    assert not repeated(found)
    shared = {draw.key for draw in found} & {draw.key for draw in other}
    # Only latents and labels of BigGAN's standing statistics are the same ones for every key.
    assert len(found) >= count and len(shared) == (3 if name == "biggan" else 0)
