"""Stages that build on stages: a chain goes on where it was stopped; what does not fit is told in one line."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import stages
from genjax.configs import vqvae_digits_pipeline, vqvae_prior_digits
from genjax.data import encoded, loader
from genjax.pipelines import chain, encoding, vqvae
from genjax.pipelines import sampling as sampling_lib
from genjax.training import places, workdir
from genjax.training.checkpoint import Checkpoints


def quick(config, data_dir, **model):
    """A run of four steps, the first two of which may be resumed."""
    config.data.data_dir = str(data_dir)
    config.training.num_steps = 4
    config.checkpoint.update(every=2, keep=5)
    config.log.update(every=1, sample_every=0, eval_every=0)
    config.model.update(model)
    return config


def make(data_dir):
    config = vqvae_digits_pipeline.get_config("tiny")
    for stage in config.stages.values():
        quick(stage, data_dir)
    config.samples = 20
    return config


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """The folder of a chain that ran undisturbed."""
    folder = tmp_path_factory.mktemp("chains") / "whole"
    chain.run(make(data_dir), folder)
    return folder


def identity(folder, step=4):
    checkpoints = Checkpoints(folder / "checkpoints")
    found = checkpoints.identity(step)
    checkpoints.close()
    return found


def test_a_chain_leaves_a_workdir_a_stage_and_images(whole):
    assert {path.name for path in whole.iterdir()} == {"tokenizer", "prior", "samples", "pipeline.json"}
    stage = json.loads((whole / "prior" / "stage.json").read_text())
    assert stage["stages"]["tokenizer"]["step"] == 4
    config = workdir.read_config(whole / "prior")
    assert config.stages.tokenizer.workdir == "../tokenizer" and config.data.encoded
    with np.load(whole / "samples" / "samples.npz") as file:
        assert file["arr_0"].shape == (20, 8, 8, 1) and file["arr_0"].std() > 0


@pytest.mark.parametrize(
    "killed",
    [
        "in the prior",
        pytest.param("before the prior", marks=pytest.mark.slow),
        pytest.param("while encoding", marks=pytest.mark.slow),
        pytest.param("in the tokenizer", marks=pytest.mark.slow),
    ],
)
def test_a_chain_goes_on_where_it_was_stopped(whole, data_dir, tmp_path, killed):
    folder = tmp_path / "again"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "samples")
    (folder / "pipeline.json").unlink()
    if killed == "in the prior":
        shutil.rmtree(folder / "prior" / "checkpoints" / "4")
    else:
        shutil.rmtree(folder / "prior")
    if killed in ("while encoding", "in the tokenizer"):
        (folder / "tokenizer" / encoding.FOLDER / encoded.MANIFEST).unlink()
    if killed == "in the tokenizer":
        shutil.rmtree(folder / "tokenizer" / "checkpoints" / "4")
    chain.run(make(data_dir), folder)
    for name in ("tokenizer", "prior"):
        assert identity(folder / name) == identity(whole / name), name
    images = [np.load(f / "samples" / "samples.npz")["arr_0"] for f in (folder, whole)]
    np.testing.assert_array_equal(*images)


def test_a_whole_folder_may_be_moved_and_sampled_by_its_name(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "moved")
    stage = stages.load(tmp_path / "moved")
    assert stage.config.family == "code_prior" and stage.step == 4
    there = np.load(whole / "samples" / "samples.npz")["arr_0"]
    np.testing.assert_array_equal(sampling_lib.draw(stage, 20).images, there)


def test_cached_codes_are_the_live_ones(whole, data_dir):
    tokenizer = stages.load(whole / "tokenizer")
    settings = workdir.read_config(whole / "prior").data.to_dict()
    for live, cached in zip(
        loader.Data(settings | {"encoded": ""}).eval_batches(), loader.Data(settings).eval_batches(), strict=True
    ):
        real = live["mask"] > 0
        for level, codes in enumerate(tokenizer.family.interface.encode(tokenizer.weights, jnp.asarray(live["image"]))):
            np.testing.assert_array_equal(np.asarray(codes)[real], cached[f"codes_{level}"][real])
        np.testing.assert_array_equal(live["label"], cached["label"])


def test_images_are_completed_from_the_codes_that_are_kept(whole):
    stage, tokenizer = stages.load(whole), stages.load(whole / "tokenizer")
    images = loader.Data(stage.config.data.to_dict()).load_arrays()["image"][:12]
    codes = vqvae.encode(stage, images)
    np.testing.assert_array_equal(vqvae.decode(tokenizer, codes), sampling_lib.reconstruct(tokenizer, images))
    whole_again = vqvae.complete(stage, images, np.zeros(12, np.int32), rows=8)
    np.testing.assert_array_equal(whole_again.images, sampling_lib.reconstruct(tokenizer, images))
    assert (whole_again.labels == 0).all()
    drawn = vqvae.complete(stage, images, rows=0, seed=0).images
    np.testing.assert_array_equal(drawn, sampling_lib.draw(stage, 12).images)
    with pytest.raises(ValueError, match="rows=9 of images with 8"):
        vqvae.complete(stage, images, rows=9)
    with pytest.raises(ValueError, match="only a prior over codes completes images"):
        vqvae.complete(tokenizer, images, rows=4)


def prior(data_dir, tokenizer, **data):
    config = quick(vqvae_prior_digits.get_config("tiny"), data_dir)
    config.stages.tokenizer.workdir = str(tokenizer)
    config.data.update(data)
    return config


def test_a_tokenizer_that_does_not_fit_is_told_in_one_line(whole, data_dir, tmp_path):
    earlier, codes = tmp_path / "earlier", whole / "tokenizer" / encoding.FOLDER
    shutil.copytree(whole / "tokenizer", earlier)
    shutil.rmtree(earlier / "checkpoints" / "4")
    for config, words in (
        (prior(data_dir, ""), "stages.tokenizer.workdir is empty"),
        (prior(data_dir, "/no/such/run"), "/no/such/run is not a workdir"),
        (prior(data_dir, whole / "prior"), "has to be the run of a Tokenizer; the one named is a ImageSampler"),
        (prior(data_dir, earlier, encoded=str(codes)), "another stage .its step 4.*tokenizer: step 2"),
    ):
        with pytest.raises(ValueError, match=words):
            stages.train(config, tmp_path / "prior")
        assert not (tmp_path / "prior").exists(), "a mistake doesn't claim the workdir"


def test_a_trained_prior_keeps_to_its_tokenizer(whole, data_dir, tmp_path):
    shutil.copytree(whole, tmp_path / "chain")
    trained = tmp_path / "chain" / "prior"
    record = json.loads((trained / "stage.json").read_text())
    record["stages"]["tokenizer"]["checksum"] += 1
    (trained / "stage.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="has other weights than those that .*prior was trained on"):
        stages.load(trained)
    shutil.rmtree(tmp_path / "chain" / "tokenizer" / "checkpoints" / "4")
    with pytest.raises(ValueError, match="no longer holds step 4"):
        stages.load(trained)


def test_a_parent_that_is_trained_further_keeps_what_its_child_needs(whole, data_dir, tmp_path):
    shutil.copytree(whole, tmp_path / "chain")
    tokenizer, config = tmp_path / "chain" / "tokenizer", make(data_dir).stages.tokenizer
    config.training.num_steps, config.optimizer.model.decay_steps = 8, 4
    config.checkpoint.keep = 1
    stages.train(config, tokenizer)
    assert Checkpoints(tokenizer / "checkpoints").steps() == [8, 4]
    assert stages.load(tmp_path / "chain" / "prior").step == 4


def test_a_stage_that_was_moved_away_is_named_by_a_flag(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "chain")
    (tmp_path / "chain" / "tokenizer").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="tokenizer is not a workdir"):
        stages.load(tmp_path / "chain")
    with places.override([f"tokenizer:{tmp_path / 'elsewhere'}"]):
        assert stages.load(tmp_path / "chain").config.family == "code_prior"
    with pytest.raises(ValueError, match="prior builds on itself"):
        with places.override([f"tokenizer:{tmp_path / 'chain' / 'prior'}"]):
            stages.load(tmp_path / "chain")


def test_who_draws_no_images_gives_no_codes_and_reconstructs_none_says_so(whole):
    tokenizer, trained = stages.load(whole / "tokenizer"), stages.load(whole)
    with pytest.raises(ValueError, match="the family 'vqvae' draws no images"):
        sampling_lib.draw(tokenizer, 3)
    with pytest.raises(ValueError, match="the family 'code_prior' gives no codes"):
        encoding.encode(trained, whole / "nothing")
    with pytest.raises(ValueError, match="no option 'truncation'; it has .*temperature"):
        sampling_lib.draw(trained, 3, options={"truncation": 0.5})
