"""The door for people in a notebook: five lines that train, load, sample, reconstruct and measure."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import genjax
from genjax import generate, stages
from genjax.pipelines import chain, encoding, evaluation, requests
from genjax.pipelines import prompts as prompts_lib
from genjax.pipelines import sampling as images_pipeline
from genjax.pipelines.shown import Images
from tests.integration import small

TINY = {
    "training.num_steps": 2, "checkpoint.every": 2, "log.every": 1, "log.sample_every": 0, "log.eval_every": 0,
    "sampling.num_steps": "3",
}  # fmt: skip


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
    """Of a class-conditional diffusion model of the digits, one block of DiT, trained for two steps."""
    folder = tmp_path_factory.mktemp("api") / "ddpm"
    config = small.get_config()
    config.update_from_flattened_dict({**TINY, "data.data_dir": data_dir})
    run = genjax.train(config, folder)
    assert run.stage.step == 2
    return folder


@pytest.fixture(scope="module")
def run(workdir):
    return genjax.load(workdir)


@pytest.fixture(scope="module")
def tokenizer(data_dir, tmp_path_factory):
    """A VQ-VAE of the digits as it is before any step."""
    short = {name: value for name, value in TINY.items() if not name.startswith("sampling")} | {"training.num_steps": 0}
    config = genjax.config("vqvae_digits:tiny", **short, **{"data.data_dir": data_dir})
    return genjax.train(config, tmp_path_factory.mktemp("api") / "vqvae")


def test_import_is_light_and_offers_the_door(root):
    code = (
        "import time; start = time.perf_counter(); import genjax; took = time.perf_counter() - start; import sys;"
        "heavy = {'jax', 'numpy', 'flax', 'ml_collections', 'absl'} & set(sys.modules); assert not heavy, heavy;"
        "assert took < 0.1, took; assert {'load', 'train', 'config', 'Run'} <= set(dir(genjax));"
        "assert callable(genjax.load) and 'jax' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'lode'; it offers .*load, train"):
        genjax.lode  # noqa: B018


def test_configs_by_name_with_fields():
    config = genjax.config("ddpm_digits:tiny", **{"training.num_steps": 100, "optimizer.model.learning_rate": 1})
    assert config.training.num_steps == 100 and config.optimizer.model.learning_rate == 1.0
    assert genjax.config("ddpm_digits", **{"model.network.channel_mult": [1, 3]}).model.network.channel_mult == (1, 3)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("ddpm_digit", {}, "named ddpm_digits or .*edm_digits"),
        ("xyzzy", {}, "ae_digits, .*vqvae_shapes"),
        ("ddpm_digits:huge", {}, "unknown variant 'huge' of the config; known: none, unconditional, tiny"),
        ("ddpm_digits", {"training.nun_steps": 3}, "config.training.nun_steps; is it config.training.num_steps"),
        ("ddpm_digits", {"nothing.x": 3}, "unknown config field config.nothing.x: config has .*training"),
        ("ddpm_digits", {"seed.x": 3}, "config.seed.x: config.seed is a whole number, not a section"),
        ("ddpm_digits", {"training.num_steps": "many"}, "config.training.num_steps='many' must be a whole number"),
        ("ddpm_digits", {"training": 3}, "config.training=3 must be a section with .*num_steps"),
    ],
)
def test_configs_that_are_not_there(name, fields, words):
    with pytest.raises(ValueError, match=words):
        genjax.config(name, **fields)


def test_samples_are_images_that_show_themselves(run, tmp_path):
    drawn = run.sample(4, label="3", guidance_scale=2, num_steps=2, sampler="ddim", seed=0)
    assert isinstance(drawn, Images) and drawn.shape == (4, 8, 8, 1) and drawn.dtype == np.uint8
    assert list(drawn.labels) == [3, 3, 3, 3] and drawn._repr_png_().startswith(b"\x89PNG")
    stage = stages.load(run.folder, sampling={"sampler": {"name": "ddim"}, "num_steps": "2", "trajectory": False})
    there = images_pipeline.draw(stage, 4, label=3, options={"guidance_scale": 2.0})
    np.testing.assert_array_equal(drawn, there.images)
    np.testing.assert_array_equal(run.sample(4, label=3, guidance_scale=2, num_steps="2", sampler="ddim"), drawn)
    drawn.save(tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").mode == "RGB"
    every = run.sample(trajectory=True)
    assert every.shape == (16, 8, 8, 1) and list(every.labels[:11]) == [*range(10), 0]
    assert every.trajectory.shape[1:] == every.shape and every.columns == 10


def test_weights_are_read_once_and_programs_compiled_once(workdir, monkeypatch):
    run, compiled, read = genjax.load(workdir), [], []
    monkeypatch.setattr(stages, "load", lambda *_, **__: read.append(1))
    build = stages.registry.build

    def counted(*settings):
        family = build(*settings)

        def sample(weights, conditions, index, key):  # is traced when it is compiled
            compiled.append(1)
            return family.interface.sample(weights, conditions, index, key)

        return family._replace(interface=family.interface._replace(sample=sample))

    monkeypatch.setattr(stages.registry, "build", counted)
    for label, seed, scale in (("3", 0, 2.0), (5, 1, 2.0), (None, 2, 3.5)):
        run.sample(4, label=label, seed=seed, guidance_scale=scale)
    assert len(compiled) == 1, "labels, seeds and scales are arguments of what is compiled"
    run.sample(4, guidance_scale=2.0, num_steps=2)
    run.sample(4, guidance_scale=2.0, num_steps=2, sampler="ddim")
    run.sample(4, guidance_scale=2.0)
    assert len(compiled) == 3 and not read


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label": "ten"}, "label 'ten' is no class"),
        ({"label": 10}, "label 'id:10' is no class"),
        ({"sampler": "dim"}, "unknown sampler 'dim'; known: .*ddim"),
        ({"num_steps": "many"}, "many"),
        ({"gidance_scale": 2}, "no setting 'gidance_scale' of sampling; there are label, .*num_steps.*guidance_scale"),
        ({"truncation": 0.5}, "this model has no option 'truncation'; it has .*guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale=nan must be"),
        ({"prompts": "a red heart"}, "reads no text"),
        ({"seed": -1}, "seed=-1 must be"),
        ({"n": -3}, "num_samples=-3 must be at least 1"),
        ({"sdedit": "a.png:0.5", "inpaint": "a.png:b.png"}, "one edit at a time, not sdedit and inpaint"),
        ({"rerank": "x:3"}, "rerank needs a model that reads text"),
        ({"guides": ["wizard:x:1"]}, "wizard:x:1"),
    ],
)
def test_what_cannot_be_sampled_is_said(run, settings, words):
    with pytest.raises(ValueError, match=words):
        run.sample(**{"n": 2, **settings})


def test_edits_have_names(run, tmp_path):
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / "image.png")
    drawn = run.sample(2, label=1, sdedit=f"{tmp_path / 'image.png'}:0.5")
    assert drawn.shape == (2, 8, 8, 1)


def test_no_folder_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="is not a workdir of genjax"):
        genjax.load(tmp_path)
    with pytest.raises(ValueError, match="the path is empty"):
        genjax.load("")


def test_likelihoods_of_the_split_and_of_images(run):
    held = run.held_out(6)
    assert held.shape == (6, 8, 8, 1) and held.labels.shape == (6,)
    each = run.likelihood(held, label=held.labels, num_steps=2)["bits_per_dim"]
    assert each.shape == (6,) and np.isfinite(each).all()
    with pytest.raises(ValueError, match="this model is conditional: set label"):
        run.likelihood(held)
    with pytest.raises(ValueError, match="5 of label for 6 images"):
        run.likelihood(held, label=[1] * 5)
    with pytest.raises(ValueError, match="no likelihood 'exact'; this model has .*'bound', 'ode'"):
        run.likelihood(kind="exact")


@pytest.fixture
def fresh(run):
    """The run before anything was compiled, its checkpoint read already."""
    made = genjax.Run(run.folder)
    made.__dict__["stage"] = run.stage
    return made


@pytest.fixture
def programs(monkeypatch):
    """The functions that are compiled, in turn; each program gives the place of its own."""
    made = []

    def make(function, mesh, attention="auto"):
        place = len(made)
        made.append(function)
        return lambda *_: {"bits_per_dim": place}

    monkeypatch.setattr(generate, "make_batched", make)
    return made


def test_each_likelihood_and_number_of_steps_has_a_program_of_its_own(fresh, programs):
    images = np.zeros((2, 8, 8, 1), np.uint8)
    wanted = ({"num_steps": 2}, {"num_steps": 3}, {"kind": "bound"}, {}, {"num_steps": 2, "seed": 1})
    places = [fresh.likelihood(images, label=1, **settings)["bits_per_dim"] for settings in wanted]
    assert len(set(places[:4])) == 4 and places[4] == places[0]


def test_images_and_texts_have_programs_of_their_own(fresh, programs, monkeypatch):
    encoders = {"images": lambda *_: "of images", "texts": lambda *_: "of texts"}
    monkeypatch.setattr(encoding, "encoders", lambda interface: encoders)
    monkeypatch.setattr(prompts_lib, "tokens", lambda tokenizer, texts: np.zeros((len(texts), 3), np.int32))
    for inputs in (np.zeros((2, 8, 8, 1), np.uint8), ["a word"], "a word"):
        fresh.encode(inputs)
    assert programs == list(encoders.values())


def test_all_that_is_asked_for_is_in_the_request(fresh, monkeypatch):
    """Each argument of `sample`, away from its default; `evaluate` asks in the same way."""
    seen, drawn = [], generate.Drawn(np.zeros((2, 8, 8, 1), np.uint8), None, None)
    monkeypatch.setattr(fresh, "_prepared", lambda request: (fresh.stage, "a program"))
    monkeypatch.setattr(requests, "draw", lambda stage, request, program: seen.append((request, program)) or drawn)
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: {})
    asked = {"label": 3, "seed": 5, "sampler": "ddim", "num_steps": 7, "trajectory": True, "guides": ["a:b:1"],
             "keep": 0.5, "rerank": "clip:4", "guidance_scale": 2, "sdedit": "a.png:0.5"}  # fmt: skip
    expected = requests.SampleRequest(
        count=6, label="id:3", seed=5, sampler="ddim", num_steps="7", trajectory=True, guides=("a:b:1",), keep=0.5,
        rerank="clip:4", options={"guidance_scale": 2.0}, edit=("sdedit", "a.png:0.5"),
    )  # fmt: skip
    fresh.sample(6, **asked)
    fresh.evaluate(6, **asked)
    assert seen == [(expected, "a program")] * 2
    fresh.sample(6, prompts="a heart")
    fresh.sample(prompts=["a heart", "a star"])
    assert [(request.prompts, request.each) for request, _ in seen[2:]] == [
        (["a heart"], 6),
        (["a heart", "a star"], 1),
    ]


def test_an_evaluation_is_of_the_images_given_with_what_belongs_to_them(fresh, monkeypatch):
    seen = []
    monkeypatch.setattr(evaluation, "check", lambda *given: seen.append(given))
    monkeypatch.setattr(evaluation, "evaluate", lambda *given: seen.append(given) or {})
    monkeypatch.setattr(requests, "draw", None)
    labels, texts = np.array([3, 1], np.int32), ("a heart", "a star")
    given = Images.of(generate.Drawn(np.full((2, 8, 8, 1), 7, np.uint8), labels, None, texts))
    fresh.evaluate(samples=given, likelihood="ode", probe_data=["digits"])
    (_, *checked), (stage, folder, drawn, seed, *wanted) = seen
    assert (folder, seed, stage.step) == (fresh.folder, 0, fresh.stage.step)
    assert checked == wanted == ["ode", ["digits"]]
    np.testing.assert_array_equal(drawn.images, given)
    np.testing.assert_array_equal(drawn.labels, labels)
    assert drawn.prompts == texts
    fresh.evaluate(samples=np.asarray(given) / 255)
    assert seen[3][2].labels is None and seen[3][2].prompts is None


def test_runs_and_chains_are_trained_by_whoever_trains_such(monkeypatch, tmp_path):
    seen = []
    for owner, name in ((stages, "train"), (chain, "run")):
        monkeypatch.setattr(owner, name, lambda config, *given, name=name: seen.append((name, *given)))
    for config in ("ddpm_digits", "vqvae_digits_pipeline"):
        for accepts in (False, True):
            assert genjax.train(config, tmp_path / "w", accept_changed_data=accepts).folder == tmp_path / "w"
    assert seen == [(name, tmp_path / "w", accepts) for name in ("train", "run") for accepts in (False, True)]


def test_the_seed_of_what_is_reconstructed_or_measured_reaches_it(fresh, monkeypatch):
    seen, images = [], np.zeros((2, 8, 8, 1), np.uint8)
    family = fresh.stage.family._replace(reconstruct=lambda weights, images, key: images)
    monkeypatch.setattr(fresh, "stage", fresh.stage._replace(family=family))
    monkeypatch.setattr(generate, "make_reconstruct", lambda *_: "a program")
    monkeypatch.setattr(
        images_pipeline, "reconstruct", lambda stage, given, seed, program: seen.append((seed, program)) or given
    )
    monkeypatch.setattr(evaluation, "held_out", lambda stage, *given: seen.append(given) or {"bits_per_dim": 1.0})
    monkeypatch.setattr(fresh, "_call", lambda *given: seen.append(given[3:]) or {"bits_per_dim": 1.0})
    fresh.reconstruct(images, seed=4)
    fresh.likelihood(seed=5)
    fresh.likelihood(images, label=0, seed=6)
    assert seen == [(4, "a program"), (5, "ode"), (6,)]


def test_a_tokenizer_reconstructs_and_encodes(tokenizer):
    made = tokenizer.reconstruct()
    assert made.shape == made.originals.shape == (16, 8, 8, 1) and made.dtype == np.uint8
    np.testing.assert_array_equal(made, images_pipeline.reconstruct(tokenizer.stage, made.originals))
    assert made._repr_png_() is not None and made[:3].originals.shape == (3, 8, 8, 1)
    codes = tokenizer.encode(made.originals)
    assert [level.shape[0] for level in codes] == [16] and codes[0].dtype == np.int32
    decoded = tokenizer.stage.family.interface.decode(tokenizer.stage.weights, tuple(map(jax.numpy.asarray, codes)))
    assert np.abs(np.asarray(images_pipeline.images_lib.to_uint8(decoded)).astype(int) - made).max() <= 1
    with pytest.raises(ValueError, match="family 'vqvae' encodes no texts"):
        tokenizer.encode(["a word"])
    with pytest.raises(ValueError, match=r"images of \(4, 4, 1\), and this run's are of \(8, 8, 1\)"):
        tokenizer.encode(np.zeros((2, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="draws no"):
        tokenizer.sample(2)
    with pytest.raises(ValueError, match="family 'vqvae' has no likelihood"):
        tokenizer.likelihood()
    with pytest.raises(ValueError, match="sampler: a run of the family 'vqvae' has no sampler"):
        tokenizer.sample(2, sampler="ddim")


def test_what_encodes_nothing_says_so(run):
    for inputs in (np.zeros((2, 8, 8, 1), np.uint8), "a word"):
        with pytest.raises(ValueError, match="family 'diffusion' encodes no"):
            run.encode(inputs)
    with pytest.raises(ValueError, match="'diffusion'.*reconstruct"):
        run.reconstruct()


@pytest.mark.slow
def test_an_evaluation_reads_as_a_table(run):
    found = run.evaluate(40, seed=1, likelihood="ode", num_steps=2)
    assert "samples" in repr(found) and found["held_out"] and "ode/bits_per_dim" in found["held_out"]
    same = run.evaluate(samples=run.held_out(40))
    assert same["rows"]


def test_a_run_says_what_it_is(run):
    assert "diffusion on digits, step 2" in repr(run) and "guidance_scale" in repr(run)
