"""Equality with the official U-Nets of Improved DDPM and ADM, by figures that their code gave.

No PyTorch is needed: see `guided_diffusion_cases.py` for where the figures come from.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.encoder_unet import EncoderUNet
from genjax.nn.unet import UNet
from genjax.pretrained import guided_diffusion
from tests.parity import guided_diffusion_cases as cases

pytestmark = pytest.mark.parity


def network_of(arguments) -> UNet:
    """Our network for the arguments of theirs."""
    return UNet(
        **fields_of(arguments),
        num_heads=arguments.get("num_heads", 1),
        num_classes=arguments.get("num_classes", 0),
        new_attention_order=arguments.get("use_new_attention_order", False),
    )


def fields_of(arguments):
    """What the networks and the classifiers have in common."""
    return {
        "out_channels": arguments["out_channels"],
        "width": arguments["model_channels"],
        "channel_mult": arguments["channel_mult"],
        "num_res_blocks": arguments["num_res_blocks"],
        "attention_resolutions": [8 // stride for stride in arguments["attention_resolutions"]],
        "head_channels": arguments.get("num_head_channels"),
        "adaptive_norm": arguments.get("use_scale_shift_norm", False),
        "resblock_updown": arguments.get("resblock_updown", False),
    }


def ported(case):
    """Network, its parameters, its inputs, and the official output."""
    state, expected = cases.load(case)
    network = network_of(cases.CASES[case])
    x = jnp.asarray(cases.draw("x", cases.SHAPE).transpose(0, 2, 3, 1))
    label = (jnp.asarray(cases.LABELS, jnp.int32),) if network.num_classes else ()
    params = guided_diffusion.unet_params(state, network)
    return network, params, (x, jnp.asarray(cases.TIMES), *label), expected


def relative_error(network, params, inputs, expected):
    output = jax.jit(network.apply)({"params": params}, *inputs)
    return np.abs(output - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("case", cases.CASES)
def test_equals_the_official_network(case):
    network, params, inputs, expected = ported(case)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    assert relative_error(network, params, inputs, expected) < 1e-5


WRONG = [
    ("adm_64", {"new_attention_order": False}),
    ("adm_128", {"new_attention_order": True}),
    ("iddpm", {"num_heads": 2}),
    ("iddpm", {"variant": "ddpm"}),
]


@pytest.mark.parametrize(("case", "change"), WRONG)
def test_a_wrong_setting_would_show(case, change):
    """The figures tell apart what shapes can't."""
    network, *rest = ported(case)
    assert relative_error(network.copy(**change), *rest) > 1e-2


@pytest.mark.parametrize("case", cases.CLASSIFIERS)
def test_equals_the_official_classifier_and_its_gradient(case):
    state, logits, gradient = cases.load_classifier(case)
    network = EncoderUNet(**fields_of(cases.CLASSIFIERS[case]))
    x = jnp.asarray(cases.draw("x", cases.SQUARE).transpose(0, 2, 3, 1))
    t, label = jnp.asarray(cases.TIMES), jnp.asarray(cases.LABELS)
    params = guided_diffusion.encoder_params(state, network)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, t)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)

    def chosen(x):
        output = network.apply({"params": params}, x, t)
        return jax.nn.log_softmax(output)[jnp.arange(2), label].sum(), output

    found_gradient, found = jax.jit(jax.grad(chosen, has_aux=True))(x)
    # Against float64 either side's gradient is off by up to 6e-6, so between them there may be twice that.
    for actual, expected, bound in ((found, logits, 1e-5), (found_gradient, gradient, 2e-5)):
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        print(f"relative error {error:.1e}")  # shown by pytest -s
        assert error < bound


def test_a_classifier_is_no_u_net():
    state = cases.load_classifier("classifier_64")[0]
    network = EncoderUNet(**fields_of(cases.CLASSIFIERS["classifier_64"]))
    with pytest.raises(ValueError, match="36 missing .output_blocks.*, 5 unknown .out.2"):
        guided_diffusion.unet_params(state, UNet(**fields_of(cases.CLASSIFIERS["classifier_64"])))
    with pytest.raises(ValueError, match="1 unknown .stray.weight."):
        guided_diffusion.encoder_params({**state, "stray.weight": np.zeros(1)}, network)


def test_missing_and_left_over_entries_are_named():
    state, _ = cases.load("iddpm")
    network = network_of(cases.CASES["iddpm"])
    with pytest.raises(ValueError, match="1 missing .time_embed.2.weight."):
        guided_diffusion.unet_params({k: v for k, v in state.items() if k != "time_embed.2.weight"}, network)
    with pytest.raises(ValueError, match="settings describe: 1 unknown .stray.weight."):
        guided_diffusion.unet_params({**state, "stray.weight": np.zeros(1)}, network)
    with pytest.raises(ValueError, match="10 missing .input_blocks.*, 62 unknown"):
        guided_diffusion.unet_params(state, network.copy(num_res_blocks=1))
