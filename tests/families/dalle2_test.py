"""unCLIP's decoder: what it is told, what is left out, what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families import dalle2, registry
from genjax.families.interfaces import Conditions
from genjax.nn.clip_conditioning import CaptionStates, ClipConditioning, ClipInputs
from genjax.nn.glide_text import GlideText
from genjax.nn.unet import UNet
from tests.families import losses, perturbed, toy_clip
from tests.families.requested import conditions_of
from tests.families.toy_clip import CLIP, DIM, FROZEN, SPEC

KEY = jax.random.key(0)
MODEL = {
    "schedule": {"name": "cosine", "num_steps": 100},
    "parameterization": {"name": "eps"},
    "weighting": {"name": "simple"},
    "time_sampler": {"name": "uniform"},
    "network": {"name": "unet", "width": 4, "channel_mult": (1,), "num_res_blocks": 1, "attention_resolutions": (),
                "num_groups": 2},
    "text": {"source": "own", "width": 8, "depth": 1, "num_heads": 2},
    "image": {"num_tokens": 2},
    "text_dropout": 0.5,
    "image_dropout": 0.25,
}  # fmt: skip
SAMPLING = {"sampler": {"name": "ddim"}, "num_steps": "3", "threshold": {"name": "static"}}


def build(source="own", spec=SPEC, **model):
    model = {**MODEL, **model, "text": {**MODEL["text"], "source": source}}
    return registry.build("dalle2", model, SAMPLING, spec, {"clip": CLIP})


def shaken(source="own"):
    """(family, weights with nothing left at zero)"""
    family = build(source)
    return family, perturbed.weights(family, toy_clip.batch(1), scale=0.2, frozen=FROZEN)


@pytest.fixture(scope="module", params=["own", pytest.param("clip", marks=pytest.mark.slow)])
def case(request):
    return shaken(request.param)


@pytest.fixture(scope="module")
def run(case):
    family, weights = case
    sample = jax.jit(family.interface.sample)
    return lambda **conditions: np.asarray(sample(weights, conditions_of(**conditions), jnp.arange(2), KEY).images)


def test_the_gradient_reaches_all_that_reads_embeddings_and_captions(case):
    """But for what stands for an embedding that is left out, if none is."""
    family, weights = case
    gradient = losses.gradient(family, weights.params, toy_clip.batch(16), KEY, frozen=FROZEN)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_it_draws_for_embeddings_captions_both_or_neither(run):
    tokens, none = toy_clip.batch(2)["tokens"], jnp.zeros((2, 3), jnp.int32)
    embed = jnp.asarray(toy_clip.unit(np.random.default_rng(0).normal(size=(2, DIM)))).astype(jnp.float32)
    drawn = [run(tokens=tokens), run(tokens=tokens, image_embed=embed), run(tokens=none, image_embed=embed)]
    drawn.append(run(tokens=none))
    for i, one in enumerate(drawn):
        assert one.shape == (2, *toy_clip.SHAPE) and np.isfinite(one).all()
        assert all(np.abs(one - other).max() > 1e-4 for other in drawn[:i])
    # Guidance of 1 is none, of 0 knows nothing of either.
    given = {"tokens": tokens, "image_embed": embed}
    np.testing.assert_allclose(run(**given, guidance_scale=jnp.asarray(1.0)), drawn[1], atol=1e-4)
    np.testing.assert_allclose(run(**given, guidance_scale=jnp.asarray(0.0)), drawn[3], atol=1e-4)


@pytest.mark.parametrize("source", ["own", "clip"])
def test_what_is_read_has_the_shapes_that_parameters_are_made_for(source):
    conditioner = dalle2.make_conditioner(
        dalle2.Settings({"source": source, "width": 8, "depth": 1, "num_heads": 2}), SPEC, 32, "float32", CLIP
    )
    raw = conditioner.read(FROZEN, Conditions.of_batch(toy_clip.batch(3)))
    shapes = jax.tree.map(lambda leaf: (leaf.shape[1:], leaf.dtype), conditioner.shapes)
    assert jax.tree.map(lambda leaf: (leaf.shape[1:], leaf.dtype), raw) == shapes


def test_tokens_of_an_embedding_vary_fastest():
    """A projection [b, width * n] is cut as [b, width, n], Karlo's order."""
    module = ClipConditioning(CaptionStates(8, 16), 16, num_tokens=2)
    caption = (jnp.ones((1, 3, 5)), jnp.ones((1, 3), bool), jnp.ones((1, DIM)))
    raw = ClipInputs(caption, jnp.ones((1, DIM)), jnp.ones(1, bool))
    params = jax.jit(module.init)(KEY, raw)["params"]
    told = jax.jit(module.apply)({"params": params}, raw)
    flat = 2 * jnp.ones((1, DIM)) @ params["image_tokens"]["kernel"]  # DIM ** .5 = 2
    np.testing.assert_allclose(told.states[0, 0], flat[0, 0::2], rtol=1e-5)
    np.testing.assert_allclose(told.states[0, 1], flat[0, 1::2], rtol=1e-5)
    assert told.mask.shape == (1, 5) and told.vector.shape == (1, 16)


ADM = {
    "out_channels": 6,
    "num_res_blocks": 3,
    "channel_mult": (1, 2, 3, 4),
    "attention_resolutions": (32, 16, 8),
    "head_channels": 64,
    "adaptive_norm": True,
    "resblock_updown": True,
}


def count(module, *inputs):
    shapes = jax.eval_shape(module.init, KEY, *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.slow
def test_sizes_of_karlo_and_of_the_paper():
    """Karlo's decoder as published; the paper's by its table 3 is "3.5B"."""
    from genjax.conditioning.inputs import Context

    def unet(width, context):
        told = Context(jnp.zeros((1, 5, context)), None, jnp.zeros((1, 4 * width)))
        return count(UNet(width=width, **ADM), jnp.zeros((1, 64, 64, 3)), jnp.zeros(1), None, None, told)

    caption = (jnp.zeros((1, 77, 768)), jnp.ones((1, 77), bool), jnp.zeros((1, 768)))
    karlo = ClipConditioning(CaptionStates(1536, 1280), 1280)
    told = count(karlo, ClipInputs(caption, jnp.zeros((1, 768)), jnp.ones(1, bool)))
    assert unet(320, 1536) + told == 893_318_086
    paper = ClipConditioning(GlideText(49_408, 256, 2048, 2048, 24, 32), 2048)
    told = count(paper, ClipInputs(jnp.zeros((1, 256), jnp.int32), jnp.zeros((1, 1024)), jnp.ones(1, bool)))
    assert unet(512, 2048) + told == 3_563_696_646


@pytest.mark.slow
def test_sizes_of_upsamplers():
    """Karlo's have no attention and no adaptive norms; unCLIP's by their table, with attention in the middle or not."""

    def upsampler(**fields):
        fields = {**ADM, "attention_resolutions": (), **fields}
        return count(UNet(**fields), jnp.zeros((1, 64, 64, 6)), jnp.zeros(1))

    karlo = {"width": 320, "out_channels": 3, "adaptive_norm": False, "middle_attention": False}
    assert upsampler(**karlo) == 691_579_523
    assert upsampler(width=320) == 736_272_006
    assert upsampler(width=320, middle_attention=False) == 729_710_726
    large = {"width": 192, "num_res_blocks": 2, "channel_mult": (1, 1, 2, 2, 4, 4)}
    assert upsampler(**large) == 284_428_230


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="source"):
        build("else")
    with pytest.raises(ValueError, match="config.data.tokenizer"):
        build(spec=SPEC._replace(vocab_size=9))
    with pytest.raises(ValueError, match="dropout"):
        build(image_dropout=1.5)
