"""Equality of BEiT, pretraining and classifying, with transformers, random weights; all spellings of its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.beit import BeitClassifier, MaskedBeit
from genjax.pretrained import beit, registry

torch = pytest.importorskip("torch", reason="needs the extra [parity]")
transformers = pytest.importorskip("transformers", reason="needs the extra [parity]")

pytestmark = pytest.mark.parity

TRUNK = {"patch_size": 4, "width": 24, "depth": 2, "num_heads": 3}
COMMON = {
    "image_size": 16,
    "patch_size": 4,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "layer_norm_eps": 1e-6,
    "use_absolute_position_embeddings": False,
}
IMAGES = np.random.default_rng(0).standard_normal((3, 16, 16, 3)).astype(np.float32)


def made(kind, **settings):
    """A network of transformers with nothing left at zeros and ones."""
    torch.manual_seed(0)
    network = kind(transformers.BeitConfig(**COMMON, **settings)).eval()
    for value in network.parameters():
        value.data += 0.3 * torch.randn_like(value)
    return network, {name: value.detach().numpy() for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def masked():
    return made(
        transformers.BeitForMaskedImageModeling,
        vocab_size=11,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
    )


@pytest.fixture(scope="module")
def classifier():
    return made(transformers.BeitForImageClassification, num_labels=5, use_relative_position_bias=True)


def check(found, expected):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"relative error {error:.1e}")  # shown by pytest -s
    assert expected.std() > 0.1 and error < 1e-5


def test_equals_transformers_where_patches_are_hidden(masked):
    theirs, arrays = masked
    mask = np.random.default_rng(1).random((3, 4, 4)) < 0.4
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = theirs(images, bool_masked_pos=torch.from_numpy(mask.reshape(3, -1))).logits.numpy()
    ours = MaskedBeit(11, TRUNK)
    variables = {"params": beit.masked_params(arrays, ours)}
    check(jax.jit(ours.apply)(variables, jnp.asarray(IMAGES), jnp.asarray(mask)), expected.reshape(3, 4, 4, 11))


def test_classifier_equals_transformers(classifier):
    theirs, arrays = classifier
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2))).logits.numpy()
    ours = BeitClassifier(5, TRUNK)
    variables = {"params": beit.classifier_params(arrays, ours)}
    check(jax.jit(ours.apply)(variables, jnp.asarray(IMAGES)), expected)


RELEASE = {
    "beit.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "beit.embeddings.": "",
    "beit.shared_position_bias": "rel_pos_bias",
    "beit.layers": "blocks",
    "beit.pooler.layernorm": "fc_norm",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.o_proj": "attn.proj",
    "relative_position_bias.relative": "attn.relative",
    "lambda_": "gamma_",
    "classifier": "head",
}
HUB = {
    "beit.shared_position_bias": "beit.encoder.relative_position_bias",
    "beit.layers": "beit.encoder.layer",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "0.relative": "0.attention.attention.relative",
    "1.relative": "1.attention.attention.relative",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def spelled(arrays, table):
    """The state dict under other names."""
    result = {}
    for name, value in arrays.items():
        for old, new in table.items():
            name = name.replace(old, new)
        result["norm." + name.split(".")[1] if table is RELEASE and name.startswith("layernorm.") else name] = value
    return result


def released(arrays):
    """The state dict as the release has it: queries, keys and values joined, and tables of indices."""
    state = spelled(arrays, RELEASE)
    for i in range(2):
        pieces = {part: f"blocks.{i}.attention.{part}_proj" for part in "qkv"}
        state[f"blocks.{i}.attn.qkv.weight"] = np.concatenate([state.pop(f"{p}.weight") for p in pieces.values()])
        for part in "qv":
            state[f"blocks.{i}.attn.{part}_bias"] = state.pop(f"{pieces[part]}.bias")
        state[f"blocks.{i}.attn.relative_position_index"] = np.zeros((17, 17), int)
    return state


def test_all_spellings_give_the_same(masked, classifier):
    for (_, arrays), read, network in (
        (masked, beit.masked_params, MaskedBeit(11, TRUNK)),
        (classifier, beit.classifier_params, BeitClassifier(5, TRUNK)),
    ):
        expected = read(arrays, network)
        assert "blocks.0.attn.q_bias" in released(arrays) and "blocks.0.mlp.fc2.bias" in released(arrays)
        assert "beit.encoder.layer.1.attention.attention.key.weight" in spelled(arrays, HUB)
        for state in (released(arrays), spelled(arrays, HUB)):
            jax.tree.map(np.testing.assert_array_equal, read(state, network), expected)


def test_checkpoints_by_name(masked, classifier, tmp_path):
    """`beit:FILE` tells a pretrained network from a classifier."""
    for (_, arrays), read, network in (
        (masked, beit.masked_params, MaskedBeit(11, TRUNK)),
        (classifier, beit.classifier_params, BeitClassifier(5, TRUNK)),
    ):
        torch.save(
            {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}, tmp_path / "weights.pth"
        )
        found = registry.read(f"beit:{tmp_path / 'weights.pth'}").params(TRUNK)
        jax.tree.map(np.testing.assert_array_equal, found["model"], read(arrays, network))


def test_entries_without_a_place_are_told(masked):
    with pytest.raises(ValueError, match="17 unknown .blocks.1.attn.key.weight"):
        beit.masked_params(masked[1], MaskedBeit(11, TRUNK | {"depth": 1}))
