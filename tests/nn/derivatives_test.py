"""Every network can be differentiated forward and in reverse, and both are the same linear map: <u, J v> = <J^T u, v>.

Likelihoods by the probability flow and consistency training take forward derivatives, training takes reverse ones.
"""

import functools
import importlib
import pkgutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import genjax.nn
from genjax.nn import (
    beit,
    bert,
    biggan,
    clip_conditioning,
    clip_resnet,
    clip_text,
    code_networks,
    coders,
    dalle,
    dcgan,
    dit,
    dvae_coders,
    efficient_unet,
    embedding_code_transformer,
    encoder_unet,
    glide_text,
    hierarchy,
    maxout,
    mlp,
    pixelcnn,
    pixelcnnpp,
    pixelsnail,
    prior_transformer,
    real_nvp,
    t5,
    text_conditioning,
    transformer,
    unet,
    vector_coders,
    vit,
)
from genjax.nn.clip_conditioning import ClipInputs
from genjax.nn.layers import attention
from genjax.nn.text_conditioning import TextStates

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)), jnp.float32)
FEATURES = IMAGES.reshape(2, 16, 12)[:, :4]
VECTORS = FEATURES.reshape(2, -1)[:, :12]
TIMES = jnp.asarray([0.3, 0.8])
LABELS = jnp.asarray([0, 2])
CODES = jnp.asarray(np.random.default_rng(1).integers(0, 5, (2, 2, 2)), jnp.int32)
TOKENS = jnp.asarray([[1, 4, 2, 0], [3, 3, 1, 2]])
MASK = TOKENS > 0
TOLD = clip_conditioning.Context(FEATURES, MASK, jnp.ones((2, 16)))
TRUNK = {"patch_size": 4, "width": 8, "depth": 2, "num_heads": 2}
UNET = {"width": 4, "channel_mult": (1, 2), "num_res_blocks": 1, "attention_resolutions": (4,), "num_groups": 2}
BIGGAN = {"width": 8, "channel_mult": (1, 1), "attention_resolutions": ()}
CODE_NETWORK = {"num_codes": 5, "grid": (2, 2), "num_classes": 3, "width": 8}
CONTEXT = IMAGES[:, :2, :2]
TRAIN = {"train": True}
CASES = {
    "attention_pool": (attention.AttentionPool(5, 3), (IMAGES,)),
    "beit": (beit.MaskedBeit(7, TRUNK), (IMAGES, jnp.zeros((2, 2, 2), bool).at[:, 0].set(True))),
    "beit_classifier": (beit.BeitClassifier(3, TRUNK), (IMAGES,)),
    "bert": (bert.BertEncoder(5, 8, 1, 2, 16), (TOKENS, MASK)),
    "biggan_generator": (biggan.Generator(3, **BIGGAN | {"attention_resolutions": (8,)}, z_dim=12, shared_dim=4),
                         (VECTORS, LABELS), TRAIN),
    "biggan_discriminator": (biggan.Discriminator(3, **BIGGAN, num_downsamples=1), (IMAGES, LABELS), TRAIN),
    "biggan_deep_generator": (biggan.Generator(3, **BIGGAN, depth=1, z_dim=12, shared_dim=4), (VECTORS, LABELS)),
    "biggan_deep_discriminator": (biggan.Discriminator(3, **BIGGAN, depth=1, num_downsamples=1), (IMAGES, LABELS)),
    "caption_states": (clip_conditioning.CaptionStates(8, 16), ((FEATURES, MASK, VECTORS),)),
    "clip_conditioning": (
        clip_conditioning.ClipConditioning(glide_text.GlideText(5, 4, 16, 8, 1, 2), 16, 2),
        (ClipInputs(TOKENS, VECTORS, jnp.asarray([True, False])),),
    ),
    "clip_resnet": (clip_resnet.ClipResNet(5, 4, (1, 1), 2), (IMAGES.repeat(4, 1).repeat(4, 2),)),
    "clip_text": (clip_text.TextTower(5, 8, 4, 8, 1, 2), (TOKENS,)),
    "code_context": (code_networks.CodeContext(5, (4, 4), 8, 1), ([CODES],)),
    "encoder": (coders.Encoder(8, 1, 1, 4, 6), (IMAGES,)),
    "decoder": (coders.Decoder(3, 8, 1, 1, 4), (IMAGES,)),
    "cross_attention": (attention.CrossAttentionBlock(3, num_groups=3), (IMAGES, FEATURES, MASK)),
    "dalle": (dalle.DalleTransformer(5, 4, 5, (2, 2), 8, 2, 2), (TOKENS, CODES)),
    "dcgan_generator": (dcgan.Generator((8, 8, 3), 4, 4), (VECTORS,), TRAIN),
    "dcgan_discriminator": (dcgan.Discriminator(4, 4), (IMAGES,), TRAIN),
    "dit": (dit.DiT(3, 8, 1, 2, num_classes=3), (IMAGES, TIMES, LABELS)),
    "dvae_encoder": (dvae_coders.DVAEEncoder(5, width=4, channel_mult=(1, 2), num_blocks=1), (IMAGES,)),
    "dvae_decoder": (dvae_coders.DVAEDecoder(6, 4, width=4, channel_mult=(1, 2), num_blocks=1), (IMAGES,)),
    "efficient_unet": (
        efficient_unet.EfficientUNet(3, **UNET | {"num_res_blocks": (1, 1)}), (IMAGES, TIMES, None, None, TOLD)
    ),
    "embedding_codes": (
        embedding_code_transformer.EmbeddingCodeTransformer(4, 5, 3, 4, 8, 1, 2),
        (CODES.reshape(2, 4), FEATURES, MASK, VECTORS, LABELS),
    ),
    "encoder_unet": (encoder_unet.EncoderUNet(3, **UNET), (IMAGES, TIMES)),
    "hierarchy": (hierarchy.Hierarchy(3, (1, 1), 4, 8, 1, 4), (IMAGES, (jnp.eye(5, 4), jnp.ones((5, 4))))),
    "maxout_generator": (maxout.Generator((8, 8, 3), 8), (VECTORS,)),
    "maxout_discriminator": (maxout.Discriminator(4, 2), (IMAGES,)),
    "mlp_encoder": (mlp.MLPEncoder(5, (6,)), (IMAGES,)),
    "mlp_decoder": (mlp.MLPDecoder((8, 8, 3), (6,)), (VECTORS,)),
    "pixelcnn": (pixelcnn.GatedPixelCNN(**CODE_NETWORK, depth=2), (CODES, LABELS, CONTEXT)),
    "pixelcnnpp": (pixelcnnpp.PixelCNNpp(10, 4, 1, 2, 3), (IMAGES, LABELS)),
    "pixelsnail": (pixelsnail.PixelSNAIL(**CODE_NETWORK, num_blocks=1, num_res_blocks=1, key_dim=2),
                   (CODES, LABELS, CONTEXT)),
    "prior_transformer": (prior_transformer.PriorTransformer(12, 8, 1, 2), (VECTORS, TIMES, FEATURES, MASK, VECTORS)),
    "real_nvp": (real_nvp.RealNVP(4, 1, 2, 2), (0.9 * IMAGES,)),
    "t5": (t5.T5Encoder(5, 8, 1, 2, 4, 16), (TOKENS, MASK)),
    "read_states": (text_conditioning.ReadStates(8, 16, 2), (TextStates(FEATURES, MASK),)),
    "code_transformer": (transformer.CodeTransformer(**CODE_NETWORK, depth=1, num_heads=2), (CODES, LABELS, CONTEXT)),
    "unet": (unet.UNet(3, **UNET, aug_embed=True, adaptive_norm=True, resblock_updown=True),
             (IMAGES, TIMES, None, TIMES, TOLD)),
    "unet_ddpm": (unet.UNet(3, **UNET, variant="ddpm", num_classes=3, remat=True), (IMAGES, TIMES, LABELS)),
    "conv_encoder": (vector_coders.ConvEncoder(5, 4, 1, 1, 4), (IMAGES,)),
    "conv_decoder": (vector_coders.ConvDecoder((8, 8, 3), 4, 1, 1, 4), (VECTORS,)),
    "vit": (vit.VisionTransformer(5, 4, 8, 1, 2, time="sinusoids"), (IMAGES, TIMES)),
}  # fmt: skip


def is_inexact(x):
    return x is not None and jnp.issubdtype(x.dtype, jnp.inexact)


def make_network(name):
    """(the network as a function of parameters and inputs, fresh variables, inputs)."""
    network, inputs, *how = CASES[name]
    how = how[0] if how else {}

    def init(key):
        return network.init({"params": key, "dropout": key}, *inputs)

    def apply(params, rest, *floats):
        floats = iter(floats)
        given = jax.tree.map(lambda x: next(floats) if is_inexact(x) else x, inputs)
        rngs = {"dropout": jax.random.key(1)}
        out = network.apply({"params": params, **rest}, *given, **how, rngs=rngs, mutable=list(rest) if rest else False)
        return [x for x in jax.tree.leaves(out[0] if rest else out) if is_inexact(x)]

    return apply, init, [x for x in jax.tree.leaves(inputs) if is_inexact(x)]


@functools.cache
def shapes(name):
    """(shapes of a network's variables, the classes of its modules)."""
    seen = set()

    def note(next_fun, args, kwargs, context):
        seen.update(type(context.module).__mro__)
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        return jax.eval_shape(make_network(name)[1], jax.random.key(0)), seen


def noise_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype), tree)


def inner(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def both_ways(apply, variables, floats, along, against):
    """(<u, J v> by `jax.jvp`, <J^T u, v> by `jax.vjp`)."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    primals = (variables["params"], *floats)
    function = lambda params, *floats: apply(params, rest, *floats)  # noqa: E731
    forward = jax.jvp(function, primals, along)[1]
    back = jax.vjp(function, *primals)[1](against)
    return inner(against, forward), inner(back, along)


@pytest.mark.parametrize("name", CASES)
def test_forward_derivatives_are_taken(name):
    """In reverse they are taken by the losses of the families."""
    apply, _, floats = make_network(name)

    def run(variables):
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        primals = (variables["params"], *floats)
        return jax.jvp(lambda params, *floats: apply(params, rest, *floats), primals, primals)

    outputs, along = jax.eval_shape(run, shapes(name)[0])
    assert outputs and [x.shape for x in outputs] == [x.shape for x in along]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_forward_and_reverse_derivatives_agree(name):
    apply, init, floats = make_network(name)
    variables = jax.jit(init)(jax.random.key(0))
    noise = noise_like(variables["params"], 0)
    variables["params"] = jax.tree.map(lambda x, noise: x + 0.3 * noise, variables["params"], noise)
    with jax.enable_x64(True):
        variables, floats = jax.tree.map(lambda x: x.astype(jnp.float64), (variables, floats))
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        along = noise_like((variables["params"], *floats), 1)
        against = noise_like(jax.eval_shape(apply, variables["params"], rest, *floats), 2)
        forward, reverse = jax.jit(lambda *a: both_ways(apply, *a))(variables, floats, along, against)
    assert abs(float(forward)) > 1e-3
    np.testing.assert_allclose(forward, reverse, rtol=1e-6)


def test_no_network_is_missing():
    """Each module class of the package is a case, or part of one."""
    seen = set().union(*(shapes(name)[1] for name in CASES))
    modules = [importlib.import_module(f"genjax.nn.{found.name}") for found in pkgutil.iter_modules(genjax.nn.__path__)]
    known = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    own = {kind for kind in known if issubclass(kind, nn.Module) and kind.__module__.startswith("genjax.nn")}
    assert len(own) > 60 and own <= seen, own - seen
