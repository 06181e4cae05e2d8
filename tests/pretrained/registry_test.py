"""Public checkpoints by name: what doesn't fit is counted, and nothing is read for another thing than it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from genjax.nn.bert import BertEncoder
from genjax.pretrained import registry
from tests.pretrained.torch_archive import tensor, write

FIELDS = {"name": "bert", "vocab_size": 7, "max_length": 4, "width": 8, "depth": 2, "num_heads": 2, "mlp_width": 16}


def expected():
    network = BertEncoder(**{name: value for name, value in FIELDS.items() if name != "name"})
    return {"model": jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4), int))["params"]}


def arrays(width=8, depth=2, vocab=7):
    """A state dict of BERT at this size."""
    shapes = {"embeddings.word_embeddings.weight": (vocab, width), "embeddings.position_embeddings.weight": (4, width)}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, width), "embeddings.LayerNorm.weight": (width,)}
    shapes |= {"embeddings.LayerNorm.bias": (width,)}
    for i in range(depth):
        layers = {f"attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        layers |= {"attention.output.dense": (width, width), "intermediate.dense": (2 * width, width)}
        layers |= {"output.dense": (width, 2 * width)}
        for name, shape in layers.items():
            shapes |= {f"encoder.layer.{i}.{name}.weight": shape, f"encoder.layer.{i}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"encoder.layer.{i}.{name}.{part}": (width,) for part in ("weight", "bias")}
    return {name: np.full(shape, 1.0, np.float32) for name, shape in shapes.items()}


@pytest.fixture
def saved(tmp_path):
    def save(found):
        save_file(found, tmp_path / "model.safetensors")
        return f"minilm:{tmp_path}"

    return save


def test_a_checkpoint_that_fits(saved):
    found = registry.read(saved({f"module.{name}": array for name, array in arrays().items()})).params(
        FIELDS, expected()
    )
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected())


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (arrays(depth=1), r"8 missing \(encoder.layer.1.*, ..\)$"),
        (arrays(depth=3), r"settings describe: 16 unknown \(encoder.layer.2.*, ..\)$"),
        (
            arrays(width=12, depth=1) | {"another": np.zeros(1, np.float32)},
            r"8 missing \(.*\), 1 unknown \(another\), \d+ misshapen \(.*\[12\], not \[8\].*, ..\)$",
        ),
        ({"conv1.weight": np.zeros((4, 3, 7, 7), np.float32)}, r"20 missing \(.*\), 1 unknown \(conv1.weight\)$"),
    ],
)
def test_a_checkpoint_of_another_network_is_counted(saved, found, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.read(saved(found)).params(FIELDS, expected())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "classes"), [("label_emb.weight", 3), ("head.weight", 3), ("out.2.c_proj.weight", 3), ("conv.weight", 0)]
)
def test_classes_are_counted_in_the_checkpoint(name, classes):
    assert registry.Checkpoint("beit:x", {name: np.zeros((3, 5))}).num_classes == classes


def test_layers_of_another_form(saved):
    found = arrays() | {"encoder.layer.0.output.dense.weight": np.zeros((8, 16, 3, 3), np.float32)}
    with pytest.raises(ValueError, match="another network.*its encoder.layer.0.output.dense.weight .8, 16, 3, 3."):
        registry.read(saved(found)).params(FIELDS, expected())


def test_weights_are_named_behind_the_path(tmp_path):
    path = write(tmp_path / "x#1.pt", {"model": {"w": tensor((1,), (1,))}, "ema": {"v": tensor((1,), (1,))}})
    for source, unknown in ((f"minilm:{path}", "v"), (f"minilm:{path}#model", "w")):
        with pytest.raises(ValueError, match=rf"1 unknown \({unknown}\)"):
            registry.read(source).params(FIELDS)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~nobody-of-this-name/x.pt", "there is no home folder for '~nobody-of-this-name'"),
        ("gs://bucket/x.pt", "gs:// isn't supported, only local files are"),
        ("https://example.com/x.pt#ema", "https:// isn't supported"),
        ("/nowhere/x.pt#ema", "there is no checkpoint /nowhere/x.pt"),
    ],
)
def test_places_where_no_checkpoint_can_be(path, words):
    with pytest.raises(ValueError, match=words):
        registry.read(f"minilm:{path}")
