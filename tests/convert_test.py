"""Public checkpoints become workdirs, for which neither their data nor random weights are needed."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from genjax import stages
from genjax.configs import ddpm_digits, text_minilm
from genjax.data import sources
from genjax.families import registry as families
from genjax.pretrained import registry
from genjax.training import workdir
from tests.pretrained.registry_test import FIELDS, arrays

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "dot")


@pytest.fixture
def config(tmp_path):
    """A small BERT's, of data that is not there; its checkpoint and its vocabulary are."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    library = Tokenizer(models.WordPiece(vocab={word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    library.save(str(tmp_path / "bert.json"))
    draw = np.random.default_rng(0)
    found = {name: draw.normal(size=array.shape).astype(np.float32) for name, array in arrays().items()}
    save_file(found, tmp_path / "model.safetensors")
    config = text_minilm.get_config()
    config.data.name = f"folder:{tmp_path / 'nowhere'}"
    config.data.tokenizer.update(length=4, file=str(tmp_path / "bert.json"))
    config.model.network.update(FIELDS)
    config.init_from = f"minilm:{tmp_path}"
    return config


@pytest.fixture
def nothing_drawn(monkeypatch):
    """Fails where data is looked for, or a family draws parameters beyond their shapes."""
    build = families.build

    def abstract(*args):
        family = build(*args)

        def init(key, batch):
            assert isinstance(key, jax.core.Tracer), "it is only traced"
            return family.init(key, batch)

        return family._replace(init=init)

    monkeypatch.setattr(families, "build", abstract)
    monkeypatch.setattr(sources, "find", lambda *_: pytest.fail("data is looked for"))


def test_what_is_converted_has_the_weights_of_the_checkpoint_without_any_data(config, tmp_path, nothing_drawn):
    stages.convert(config, tmp_path / "w")
    stage = stages.load(tmp_path / "w")
    wanted = registry.read(config.init_from).params(FIELDS)
    jax.tree.map(np.testing.assert_array_equal, dict(stage.weights.params), wanted)
    assert stage.step == 0 and stage.tokenizer.encode("a red dot").tolist() == [2, 4, 5, 3]
    assert stage.spec == workdir.read(tmp_path / "w").spec and stage.spec.vocab_size == len(WORDS)
    before = stage.record
    stages.convert(config, tmp_path / "w")
    assert stages.load(tmp_path / "w").record == before, "what is there is left as it is"


def test_a_checkpoint_of_another_network_claims_no_workdir(config, tmp_path):
    config.model.network.depth = 1
    with pytest.raises(ValueError, match="16 unknown .encoder.layer.1"):
        stages.convert(config, tmp_path / "w")
    config.init_from = f"minilm:{tmp_path / 'none'}"
    with pytest.raises(ValueError, match="there is no checkpoint"):
        stages.convert(config, tmp_path / "w")
    assert not (tmp_path / "w" / "config.json").exists()


@pytest.mark.parametrize(("label_dropout", "classes"), [(0.0, 4), (0.1, 3)])
def test_of_a_model_for_guidance_the_last_row_of_labels_is_no_class(tmp_path, monkeypatch, label_dropout, classes):
    class Known(Exception):
        """Ends the conversion where the classes are known."""

    def build(config, spec, interfaces):
        raise Known(spec.num_classes)

    found = registry.Checkpoint("guided_diffusion:x", {"label_emb.weight": np.zeros((4, 8), np.float32)})
    monkeypatch.setattr(registry, "read", lambda source: found)
    monkeypatch.setattr(stages, "build", build)
    config = ddpm_digits.get_config()
    config.model.label_dropout, config.init_from = label_dropout, found.source
    with pytest.raises(Known, match=f"^{classes}$"):
        stages.convert(config, tmp_path / "w")
