"""Equality of the frozen language models with transformers' at random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import ddpm_cifar10
from genjax.families.registry import build as build_family
from genjax.nn import t5 as t5_lib
from genjax.nn.bert import BertEncoder
from genjax.nn.t5 import T5Encoder
from genjax.pretrained import files, minilm, registry, t5
from genjax.typing import DataSpec

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
diffusers = pytest.importorskip("diffusers", reason="needs the extra [parity]")
transformers = pytest.importorskip("transformers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity

TOKENS = np.array([[5, 9, 3, 1, 0, 0, 0], [7, 2, 11, 4, 6, 8, 1]], np.int32)


def noisy(network):
    """Nothing left at PyTorch's zeros and ones."""
    for value in network.parameters():
        value.data += 0.2 * torch.randn_like(value)
    return network.eval()


def arrays(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def relative_error(theirs, network, params, tokens=TOKENS):
    """Of the features of tokens, those of padding aside."""
    with torch.no_grad():
        ids = torch.from_numpy(tokens.astype(np.int64))
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state.numpy()
    found = jax.jit(network.apply)({"params": params}, jnp.asarray(tokens))
    error = np.abs(found - expected)[tokens != 0].max() / np.abs(expected).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    return error


@pytest.mark.parametrize("gated", [True, False], ids=["1.1", "1.0"])
def test_t5_encoder(gated):
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=13, d_model=16, d_kv=6, d_ff=20, num_layers=2, num_heads=3, num_decoder_layers=1,
        feed_forward_proj="gated-gelu" if gated else "relu", relative_attention_num_buckets=8,
        relative_attention_max_distance=6,
    )  # fmt: skip
    theirs = noisy(transformers.T5EncoderModel(config))
    network = T5Encoder(13, 16, 2, 3, 6, 20, gated, num_buckets=8, max_distance=6)
    assert relative_error(theirs, network, t5.encoder_params(arrays(theirs), network)) < 1e-5


def test_a_whole_t5_gives_its_encoder():
    config = transformers.T5Config(
        vocab_size=13, d_model=16, d_kv=6, d_ff=20, num_layers=1, num_heads=3, feed_forward_proj="gated-gelu"
    )
    theirs = noisy(transformers.T5ForConditionalGeneration(config))
    network = T5Encoder(13, 16, 1, 3, 6, 20)
    assert relative_error(theirs.encoder, network, t5.encoder_params(arrays(theirs), network)) < 1e-5


def test_t5_distances():
    from transformers.models.t5.modeling_t5 import T5Attention

    for length, buckets, furthest in ((300, 32, 128), (40, 8, 20)):
        offset = torch.arange(length)[None] - torch.arange(length)[:, None]
        expected = T5Attention._relative_position_bucket(offset, True, buckets, furthest).numpy()
        np.testing.assert_array_equal(t5_lib.distance_buckets(length, buckets, furthest), expected)


def test_bert_encoder():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        max_position_embeddings=9,
    )  # fmt: skip
    theirs = noisy(transformers.BertModel(config))
    network = BertEncoder(13, 12, 2, 3, 20, max_length=9)
    assert relative_error(theirs, network, minilm.encoder_params(arrays(theirs), network)) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_files_of_pytorch_are_read_without_it(tmp_path, dtype):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2).to(getattr(torch, dtype))
    state = {**layer.state_dict(), "turned": layer.weight.detach().T, "part": layer.weight.detach()[1:, 1:]}
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": layer.state_dict(), "step": 3}, tmp_path / "trained.bin")
    found = files.read_arrays(tmp_path / "plain.pt")
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert str(found[name].dtype) == dtype
        np.testing.assert_array_equal(found[name].astype(np.float32), value.float().numpy())
    assert files.read_arrays(tmp_path / "trained.bin").keys() == {"weight", "bias"}


def test_a_public_unet_becomes_what_the_family_makes():
    """A checkpoint of diffusers, by its name in `config.init_from`, has the names and shapes of the config's family."""
    config = ddpm_cifar10.get_config("tiny")
    family = build_family(config.family, config.model.to_dict(), config.sampling.to_dict(), DataSpec((8, 8, 1)))
    wanted = jax.eval_shape(family.init, jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 1))})[0]
    net = config.model.network
    theirs = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=net.num_groups, attention_head_dim=None, freq_shift=1, flip_sin_to_cos=False,
        norm_eps=1e-6, downsample_padding=0,
    )  # fmt: skip
    found = registry.KINDS["diffusers"](arrays(theirs), net.to_dict())
    assert jax.tree.map(np.shape, {"model": found}) == jax.tree.map(jnp.shape, wanted)
