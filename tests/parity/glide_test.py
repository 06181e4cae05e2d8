"""Equality with GLIDE's official networks, by figures that their code gave.

No PyTorch is needed: see `glide_cases.py` for where the figures come from.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.conditioning import inpainting
from genjax.conditioning import low_res as low_res_lib
from genjax.conditioning.inputs import Cond
from genjax.nn import denoising
from genjax.nn.glide_text import GlideText
from genjax.nn.unet import UNet
from genjax.pretrained import glide
from tests.parity import glide_cases as cases
from tests.parity.guided_diffusion_cases import SHAPE, TIMES, draw
from tests.parity.guided_diffusion_test import fields_of

pytestmark = pytest.mark.parity


def nhwc(name, shape=SHAPE):
    return jnp.asarray(draw(name, shape).transpose(0, 2, 3, 1))


def networks(case):
    """Our U-Net and our transformer for the arguments of theirs."""
    arguments = cases.CASES[case]
    unet = UNet(**fields_of(arguments))
    text = GlideText(cases.VOCAB, cases.LENGTH, 128, arguments["xf_width"], arguments["xf_layers"], cases.HEADS)
    return unet, text


def inputs(case, told):
    """What the U-Net is called with."""
    images = {name: jnp.asarray(value.transpose(0, 2, 3, 1)) for name, value in cases.make_images(case).items()}
    cond = Cond(context=told)
    if "low_res" in images:
        cond = cond._replace(low_res=low_res_lib.upsample(images["low_res"], (SHAPE[2], SHAPE[3])))
    if "inpaint_image" in images:
        known = inpainting.known_channels(images["inpaint_image"], images["inpaint_mask"])
        cond = cond._replace(known=known)
    return denoising.inputs(nhwc("x"), jnp.asarray(TIMES), cond)


def error_of(case, tokens=cases.OUR_TOKENS, num_heads=cases.HEADS):
    """Greatest difference to the official output, in its greatest value."""
    state, expected = cases.load(case)
    unet, text = networks(case)
    params = glide.params(state, unet, num_heads)

    @jax.jit
    def apply(params, tokens):
        told = text.apply({"params": params["conditioner"]}, tokens)
        return unet.apply({"params": params}, *inputs(case, told))

    output = apply(params, jnp.asarray(tokens, jnp.int32))
    return np.abs(output - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("case", cases.CASES)
def test_equals_the_official_network(case):
    unet, text = networks(case)
    params = glide.params(cases.load(case)[0], unet, cases.HEADS)

    def init(key):
        told, variables = text.init_with_output(key, jnp.zeros((2, cases.LENGTH), jnp.int32))
        return {**unet.init(key, *inputs(case, told))["params"], "conditioner": variables["params"]}

    shapes = jax.eval_shape(init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    error = error_of(case)
    print(f"relative error {error:.1e}")  # shown by pytest -s
    assert error < 1e-5


def test_a_wrong_order_of_heads_or_of_padding_would_show():
    assert error_of("Text2ImUNet", num_heads=1) > 1e-3
    assert error_of("Text2ImUNet", tokens=cases.TOKENS) > 1e-3


def test_left_over_entries_are_named():
    state, _ = cases.load("Text2ImUNet")
    unet, _ = networks("Text2ImUNet")
    with pytest.raises(ValueError, match=r"1 unknown \(stray.weight\)"):
        glide.params({**state, "stray.weight": np.zeros(1)}, unet, cases.HEADS)
