"""Equality with diffusers' UNet2DModel in DDPM's settings, random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.unet import UNet
from genjax.pretrained import diffusers_unet

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
diffusers = pytest.importorskip("diffusers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity


def reference(head_dim=None, num_classes=None):
    """A small network of the kind of google/ddpm-cifar10-32: three levels, attention at the second."""
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=2,
        norm_num_groups=8,
        norm_eps=1e-6,
        freq_shift=1,
        flip_sin_to_cos=False,
        downsample_padding=0,
        attention_head_dim=head_dim,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=num_classes,
    ).eval()
    for value in network.parameters():
        if value.ndim == 1:  # PyTorch's zeros and ones would hide mistakes
            value.data += 0.2 * torch.randn_like(value)
    return network


def ours(**changes):
    fields = {
        "out_channels": 3,
        "width": 16,
        "channel_mult": (1, 2, 2),
        "attention_resolutions": (4,),
        "num_groups": 8,
        "variant": "ddpm",
    }
    return UNet(**{**fields, **changes})


def arrays_of(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def relative_error(theirs, network, params, label=None):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 8, 12, 3)).astype(np.float32), np.array([7.0, 503.0], np.float32)
    y = None if label is None else torch.tensor(label.tolist())
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(t), y).sample
    expected = expected.numpy().transpose(0, 2, 3, 1)
    output = jax.jit(network.apply)({"params": params}, x, jnp.asarray(t), label)
    error = np.abs(output - expected).max() / np.abs(expected).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    return error


def test_ddpm_equals_diffusers():
    theirs, network = reference(), ours()
    error = relative_error(theirs, network, diffusers_unet.unet_params(arrays_of(theirs), network))
    assert error < 1e-5


@pytest.mark.parametrize("new_order", [False, True])
def test_heads_and_classes_equal_diffusers(new_order):
    """Not in DDPM, but in networks of the class: 4 heads of 8 channels, 3 classes."""
    theirs = reference(head_dim=8, num_classes=3)
    network = ours(head_channels=8, num_classes=3, new_attention_order=new_order)
    params = diffusers_unet.unet_params(arrays_of(theirs), network)
    assert relative_error(theirs, network, params, jnp.array([2, 0])) < 1e-5


def test_old_names_are_read():
    theirs, network = reference(), ours()
    arrays = arrays_of(theirs)
    renamed = {}
    for name, value in arrays.items():
        for old, new in {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}.items():
            name = name.replace(f".{new}.", f".{old}.") if "attentions" in name else name
        renamed[name] = value
    assert renamed.keys() != arrays.keys()
    params, same = (diffusers_unet.unet_params(state, network) for state in (arrays, renamed))
    jax.tree.map(np.testing.assert_array_equal, params, same)


def test_cifar10_checkpoint_has_the_shapes_of_our_config():
    """The layout of google/ddpm-cifar10-32, without its weights, fits configs/ddpm_cifar10.py."""
    from genjax.configs import ddpm_cifar10

    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(
            sample_size=32,
            block_out_channels=(128, 256, 256, 256),
            attention_head_dim=None,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    fields = {**ddpm_cifar10.get_config().model.network}
    del fields["name"]
    network = UNet(out_channels=3, **fields)
    params = diffusers_unet.unet_params(arrays, network)
    fresh = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1,)))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, fresh["params"])
