"""What a chain trains, writes, loads and draws, in which order; the runs themselves are stand-ins."""

import json
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from genjax.configs.recipes import common, pipelines
from genjax.pipelines import chain


def stage(num_steps, init_from="", **parents):
    config = common.base()
    config.family, config.training.num_steps, config.init_from = "toy", num_steps, init_from
    config.stages = ConfigDict({name: {"workdir": where} for name, where in parents.items()})
    return config


def config(**changes):
    stages = {
        "tokenizer": stage(5),
        "prior": stage(7, tokenizer=""),
        "tuned": stage(9, init_from="prior", tokenizer="", other="runs/elsewhere"),
    }
    made = pipelines.chain(stages, encode=("tokenizer",), samples=12)
    made.update(changes)
    return made


@pytest.fixture
def done(monkeypatch, tmp_path):
    """What was done, in its order; a run that is trained leaves its last checkpoint."""
    notes = []

    def train(one, folder):
        notes.append(("train", folder.name, one))
        (folder / "checkpoints" / str(one.training.num_steps)).mkdir(parents=True)

    interface = SimpleNamespace(num_classes=4)
    monkeypatch.setattr(chain.stages, "train", train)
    monkeypatch.setattr(chain.stages, "load", lambda folder: f"stage {folder.name}")
    monkeypatch.setattr(chain.encoding, "encode", lambda held, folder: notes.append(("encode", held, folder)))
    monkeypatch.setattr(chain.needs, "check", lambda one, folder, members: notes.append(("check", folder.name)))
    monkeypatch.setattr(chain.folders, "load", lambda nesting: SimpleNamespace(interface=interface))
    monkeypatch.setattr(chain.sampling_lib, "draw", lambda held, count: notes.append(("draw", count)) or "drawn")

    def save(folder, drawn, columns):
        notes.append(("save", folder, drawn, columns))
        return folder / "samples.png"

    monkeypatch.setattr(chain.sampling_lib, "save", save)
    return notes


def test_members_are_checked_trained_and_written_in_their_order_then_drawn(done, tmp_path):
    assert chain.run(config(), tmp_path) == tmp_path / "samples" / "samples.png"
    names = [note[:2] for note in done]
    assert names == [
        ("check", "tokenizer"), ("check", "prior"), ("check", "tuned"),
        ("train", "tokenizer"), ("encode", "stage tokenizer"), ("train", "prior"), ("train", "tuned"),
        ("draw", 12), ("save", tmp_path / "samples"),
    ]  # fmt: skip
    assert done[4][2] == tmp_path / "tokenizer" / "encoded" and done[-1][2:] == ("drawn", 4)
    pipeline = json.loads((tmp_path / "pipeline.json").read_text())
    assert pipeline == {"stages": ["tokenizer", "prior", "tuned"], "sampling": "last", "members": {}}
    trained = {note[1]: note[2] for note in done if note[0] == "train"}
    codes = str(tmp_path / "tokenizer" / "encoded")
    assert trained["tokenizer"].data.encoded == "" and trained["prior"].data.encoded == codes
    assert trained["prior"].stages.tokenizer.workdir == "../tokenizer"
    assert trained["tuned"].init_from == str(tmp_path / "prior") and trained["prior"].init_from == ""
    assert trained["tuned"].stages.other.workdir == "runs/elsewhere"


def test_whatever_a_member_names_outside_of_the_chain_stays_as_it_is(done, tmp_path):
    made = config()
    made.stages.prior.init_from = "runs/before"
    made.stages.tuned.stages.tokenizer.workdir = "runs/mine"
    made.stages.tuned.data.encoded = "runs/mine/encoded"
    chain.run(made, tmp_path)
    trained = {note[1]: note[2] for note in done if note[0] == "train"}
    assert trained["prior"].init_from == "runs/before" and trained["prior"].stages.tokenizer.workdir == "../tokenizer"
    assert trained["tuned"].stages.tokenizer.workdir == "runs/mine"
    assert trained["tuned"].data.encoded == "runs/mine/encoded"


def test_only_of_members_that_are_encoded_codes_are_read(done, tmp_path):
    chain.run(config(encode=()), tmp_path)
    assert all(note[2].data.encoded == "" for note in done if note[0] == "train")


def test_each_member_that_is_trained_hears_whether_changed_data_is_accepted(done, tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(chain.stages, "train", lambda one, folder, accept_changed_data=False: heard.append(
        (folder.name, accept_changed_data)
    ))  # fmt: skip
    chain.run(config(), tmp_path, accept_changed_data=True)
    chain.run(config(), tmp_path)
    assert heard == [(name, accepts) for accepts in (True, False) for name in ("tokenizer", "prior", "tuned")]


def test_what_is_finished_is_left_alone(done, tmp_path):
    chain.run(config(), tmp_path)
    (tmp_path / "prior" / "checkpoints" / "7").rename(tmp_path / "prior" / "checkpoints" / "6")
    done.clear()
    chain.run(config(sampling="none"), tmp_path)
    assert [note[:2] for note in done] == [
        ("check", "prior"), ("encode", "stage tokenizer"), ("train", "prior"),
    ]  # fmt: skip


def test_a_chain_that_draws_nothing_and_one_of_a_cascade_say_so(done, tmp_path):
    assert chain.run(config(sampling="none"), tmp_path) == tmp_path / "pipeline.json"
    assert not any(note[0] == "draw" for note in done)
    chain.run(config(sampling="cascade", cascade=("prior", "tuned")), tmp_path)
    pipeline = json.loads((tmp_path / "pipeline.json").read_text())
    assert pipeline["sampling"] == "cascade" and pipeline["members"] == {"prior": "prior", "tuned": "tuned"}
    chain.run(config(sampling="dalle2", cascade=("prior", "tuned", "tokenizer")), tmp_path)
    members = {"prior": "prior", "decoder": "tuned", "tokenizer": "tokenizer"}
    assert json.loads((tmp_path / "pipeline.json").read_text())["members"] == members


@pytest.mark.parametrize(("changes", "words"), [
    ({"order": ()}, "config.order"),
    ({"order": ("tokenizer", "absent")}, "absent"),
    ({"encode": ("absent",)}, "absent"),
    ({"cascade": ("absent",)}, "absent"),
    ({"order": ("tokenizer",), "cascade": ("prior",)}, r"names \['prior'\], which are not in config.order"),
    ({"sampling": "all"}, "unknown config.sampling='all'"),
    ({"sampling": "dalle2", "cascade": ("prior",)}, "made of a prior, a decoder and perhaps upsamplers, not of 1"),
])  # fmt: skip
def test_refusals(done, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        chain.run(config(**changes), tmp_path)
    assert not done


def test_a_cascade_names_its_members_the_base_first():
    made = pipelines.cascade({"base": stage(1), "up": stage(1)}, 5, {"text": stage(1)}, ("text",))
    assert made.order == ("text", "base", "up") and made.cascade == ("base", "up") and made.encode == ("text",)
    assert made.sampling == "cascade" and made.samples == 5
    both = pipelines.tokenizer_and_prior(stage(1), stage(2))
    assert both.order == ("tokenizer", "prior") and both.encode == ("tokenizer",) and both.sampling == "last"
