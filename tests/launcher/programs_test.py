"""What the flags of each program come to: the program runs in this process, and notes whom it calls."""

import importlib.util
import sys
from types import SimpleNamespace

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from genjax import stages
from genjax.families.interfaces import ImageSampler, Weights
from genjax.launcher import startup
from genjax.launcher.sampling_flags import SamplingFlags
from genjax.metrics import report
from genjax.pipelines import chain, encoding, evaluation, plan, sample_files
from genjax.pipelines import sampling as sampling_lib
from genjax.training import places

CONFIG = "--config=configs/ddpm_digits.py:tiny"


@pytest.fixture
def run(monkeypatch, root, tmp_path):
    """(program, words of the command line) runs its `main`; no flags are there but libraries' and all programs'."""
    monkeypatch.chdir(root)
    there = flags.FLAGS._flags()
    before, modules = dict(there), flags.FLAGS.flags_by_module_dict()
    everywhere = [flag.name for name in modules if name.startswith(("absl.", "grain.")) for flag in modules[name]]
    everywhere += [held.name for held in vars(startup).values() if isinstance(held, flags.FlagHolder)]
    loaded = 0

    def run(program, *words):
        nonlocal loaded
        loaded += 1
        there.clear()
        there.update({name: before[name] for name in everywhere if name in before})
        path = root / "genjax" / "launcher" / f"{program}.py"
        spec = importlib.util.spec_from_file_location(f"{program}_{loaded}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        folder = [] if program == "plan" else [f"--workdir={tmp_path / 'w'}"]
        monkeypatch.setattr(sys, "argv", [program, *words, *folder])
        startup.parse(sys.argv)
        module.main()

    with flagsaver.flagsaver():
        yield run
        there.clear()
        there.update(before)


@pytest.fixture
def noted(monkeypatch):
    """Puts a function that notes its arguments in the place of another; returns all notes, by its name."""
    notes = {}

    def note(owner, name, returns=None):
        def instead(*args, **settings):
            notes[name] = (*args, *settings.values())
            return returns

        monkeypatch.setattr(owner, name, instead)
        return notes

    return note


def test_train(run, noted, tmp_path, monkeypatch):
    notes = noted(stages, "train")
    run("train", CONFIG, "--config.seed=7")
    assert notes["train"][0].seed == 7 and notes["train"][1:] == (tmp_path / "w", False)
    run("train", CONFIG, "--accept_changed_data")
    assert notes["train"][1:] == (tmp_path / "w", True)
    found = []
    monkeypatch.setattr(stages, "train", lambda *_: found.append(places.overridden("clip")))
    run("train", CONFIG, f"--stage=clip:{tmp_path}")
    assert found == [tmp_path]


def test_pipeline(run, noted, tmp_path):
    notes = noted(chain, "run", "written")
    for words, accepts in (((), False), (("--accept_changed_data",), True)):
        run("pipeline", "--config=configs/vqvae_digits_pipeline.py", "--config.samples=3", *words)
        assert notes["run"][0].samples == 3 and notes["run"][1:] == (tmp_path / "w", accepts)


def test_convert(run, noted, tmp_path):
    notes = noted(stages, "convert")
    for words, source in (
        ((), "minilm:"),
        (("--checkpoint=minilm:there.pt",), "minilm:there.pt"),
        (("--checkpoint=minilm:there.pt", "--weights=model"), "minilm:there.pt#model"),
    ):
        run("convert", "--config=configs/text_minilm.py", *words)
        config, folder = notes["convert"]
        assert (config.init_from, folder) == (source, tmp_path / "w")


def test_encode(run, noted, tmp_path):
    stage = SimpleNamespace(interface=SimpleNamespace(num_codes=5))
    noted(stages, "load", stage)
    noted(encoding, "usage", [])
    notes = noted(encoding, "encode", SimpleNamespace(counts={"train": 3}))
    run("encode")
    assert notes["load"] == (tmp_path / "w",) and notes["encode"] == (stage, tmp_path / "w" / "encoded", [])
    run("encode", "--splits=train,other", f"--out={tmp_path / 'there'}")
    assert notes["encode"] == (stage, tmp_path / "there", ["train", "other"])
    assert notes["usage"] == (tmp_path / "there", SimpleNamespace(counts={"train": 3}), 5, "train")


def test_sample(run, noted, tmp_path):
    interface = ImageSampler(None, (8, 8, 3), 10)
    stage = stages.Stage(SimpleNamespace(interface=interface), Weights({}, (), {}), None, None, step=0)
    for name in ("load", "draw", "reconstruct"):
        noted(SamplingFlags, name, stage if name == "load" else name)
    notes = noted(sampling_lib, "save")
    run("sample")
    assert notes["load"][1:] == (False,) and notes["save"] == (tmp_path / "w" / "samples", "draw", 10)
    run("sample", "--trajectory", "--label=3", f"--out={tmp_path / 'there'}")
    assert notes["load"][1:] == (True,) and notes["save"] == (tmp_path / "there", "draw", None)
    run("sample", "--reconstruct")
    assert notes["save"] == (tmp_path / "w" / "samples", "reconstruct", None)


def test_evaluate(run, noted, tmp_path):
    for name in ("load", "samples", "fill_holes"):
        noted(SamplingFlags, name, {"holes": 1.0} if name == "fill_holes" else name)
    for name in ("check", "evaluate", "format_result"):
        noted(evaluation, name, {"held_out": 2.0} if name == "evaluate" else name)
    notes = noted(report, "write_report")
    run("evaluate")
    assert notes["check"] == ("load", "", []) and notes["samples"][1:] == ("load", None)
    assert notes["evaluate"] == ("load", tmp_path / "w", "samples", 0, "", [], [0.0])
    assert notes["write_report"] == (tmp_path / "w" / "evaluation.json", {"held_out": 2.0})
    words = ["--likelihood=ode", "--probe_data=a", "--probe_data=b", "--probe_noise=0.5", "--probe_noise=1"]
    held = noted(sample_files, "read", "read from the file")
    run("evaluate", *words, f"--samples={tmp_path / 's.npz'}")
    assert held["read"] == (tmp_path / "s.npz",) and notes["samples"][1:] == ("load", "read from the file")
    assert notes["check"] == ("load", "ode", ["a", "b"])
    assert notes["evaluate"][4:] == ("ode", ["a", "b"], [0.5, 1.0])
    run("evaluate", "--fill_holes")
    assert notes["evaluate"][2] is None and notes["write_report"][1] == {"holes": 1.0, "held_out": 2.0}


def test_plan(run, noted, capsys):
    noted(plan, "describe", "as planned")
    notes = noted(plan, "make", "a plan")
    run("plan", CONFIG)
    assert notes["make"][1:] == (256, {}) and notes["describe"] == ("a plan",)
    run("plan", CONFIG, "--devices=12", "--parent=tokenizer:configs/dvae_dalle.py")
    (config, devices, parents), parent = notes["make"], notes["make"][2]["tokenizer"]
    assert (config.family, devices, list(parents), parent.family) == ("diffusion", 12, ["tokenizer"], "dvae")
    assert capsys.readouterr().out.endswith("as planned\n")


def test_the_other_processes_are_found_by_the_flags_of_their_names(noted, monkeypatch, run):
    notes = noted(jax.distributed, "initialize")
    noted(plan, "make")
    noted(plan, "describe")
    run("plan", CONFIG, "--multihost", "--coordinator=host:1", "--num_processes=4", "--process_id=2")
    startup._start_devices()
    assert notes["initialize"] == ("host:1", 4, 2)
