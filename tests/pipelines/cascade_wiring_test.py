"""What each stage of a cascade is requested, with stages whose images are their conditions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from genjax.core import rng
from genjax.data.tokenizers import TextTokenizer
from genjax.families.base import Family
from genjax.families.interfaces import ImageSampler, Samples, Weights
from genjax.pipelines import cascade, dalle2, folders
from genjax.pipelines.trained import Chain
from genjax.stages import Stage
from genjax.training import nesting
from genjax.typing import DataSpec
from tests.families.requested import conditions_of

SIZES = {"base": 2, "up": 4, "last": 8}
KEY = jax.random.key(3)


class Reader(TextTokenizer):
    """A tokenizer of which only its name and length are looked at."""

    checksum = 0

    def __init__(self, checksum, length):
        self.checksum, self.length = checksum, length


def members(seen, classes=3, tokens=0, base_scale=2.0, last_level=0.25, tokenizers=(1, 1, 1)):
    """Three stages that note their conditions and key; each draws its weight, the low-resolution image and a bit."""

    def made(name, place):
        size, before = SIZES[name], SIZES[name] // 2

        def sample(weights, conditions, index, key):
            values = {**conditions._asdict(), **conditions.options, "index": index}
            values = {field: np.asarray(value) for field, value in values.items() if value is not None}
            seen[name] = (values, jax.random.key_data(key))
            shape = (len(index), size, size, 1)
            below = 0.0 if conditions.low_res is None else conditions.low_res.mean()
            return Samples(jnp.full(shape, weights.params["model"] + below + 1e-4))

        options = {"guidance_scale": 1.0} if place == 0 else {"guidance_scale": 1.0, "aug_level": 0.0}
        shapes = ((size, size, 1), (before, before, 1))
        classes_ = classes if place == 0 or name == "up" else 0
        small = None if place == 0 else shapes[1]
        interface = ImageSampler(sample, shapes[0], classes_, options, text_length=tokens, low_res_shape=small)
        config = ConfigDict(
            {"family": "toy", "sampling": {"guidance_scale": base_scale if place == 0 else 1.5 + place}}
        )
        config.sampling.aug_level = (0.6, 0.4, last_level)[place]  # every diffusion model has the field, the base too
        weights = Weights({"model": jnp.float32(0.1 * (place + 1))}, (), {})

        def evaluate(weights, batch, key):
            return {"weight": weights.params["model"][None]}

        family = Family(None, (), evaluate, interface)
        return Stage(
            family,
            weights,
            config,
            DataSpec(shapes[0], classes),
            1,
            2**31 + place,
            tokenizer=Reader(tokenizers[place], tokens),
        )

    return {name: made(name, place) for place, name in enumerate(SIZES)}


def draw(seen, extra=None, **how):
    stage = cascade.join(members(seen, **how))
    conditions = conditions_of(label=jnp.array([2, 0]), **(extra or {}))
    return stage, stage.interface.sample(stage.weights, conditions, jnp.arange(2), KEY)


def test_each_stage_sees_what_the_one_before_drew_on_the_grid_of_eight_bits():
    seen = {}
    _, drawn = draw(seen)
    first = round((0.1 + 1e-4 + 1) * 127.5) / 127.5 - 1
    second = round((0.2 + first + 1e-4 + 1) * 127.5) / 127.5 - 1
    np.testing.assert_allclose(seen["up"][0]["low_res"], np.full((2, 2, 2, 1), first), atol=1e-6)
    np.testing.assert_allclose(seen["last"][0]["low_res"], np.full((2, 4, 4, 1), second), atol=1e-6)
    assert drawn.images.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(drawn.images, round((0.3 + second + 1e-4 + 1) * 127.5) / 127.5 - 1, atol=1e-6)


def test_labels_go_to_those_that_know_classes_and_each_has_a_key_of_its_own():
    seen = {}
    draw(seen)
    assert seen["base"][0]["label"].tolist() == seen["up"][0]["label"].tolist() == [2, 0]
    assert "label" not in seen["last"][0] and all(values["index"].tolist() == [0, 1] for values, _ in seen.values())
    np.testing.assert_array_equal(seen["base"][1], jax.random.key_data(KEY))
    for name in ("up", "last"):
        np.testing.assert_array_equal(seen[name][1], jax.random.key_data(rng.stream(KEY, name)))


def test_options_of_a_stage_are_its_configs_but_for_what_is_requested_of_the_base_and_shared():
    seen = {}
    draw(seen, {"guidance_scale": jnp.float32(5.0), "aug_level": jnp.float32(0.5), "known": jnp.zeros((2, 2, 2, 1))})
    found = {name: {key: float(values[key]) for key in ("guidance_scale", "aug_level") if key in values}
             for name, (values, _) in seen.items()}  # fmt: skip
    assert found == {
        "base": {"guidance_scale": 5.0},
        "up": {"guidance_scale": 2.5, "aug_level": 0.5},
        "last": {"guidance_scale": 3.5, "aug_level": 0.5},
    }
    assert "known" in seen["base"][0] and "known" not in seen["up"][0] and "known" not in seen["last"][0]


def test_the_whole_is_the_last_stage_with_the_classes_and_options_of_the_base():
    stage, _ = draw({})
    interface = stage.interface
    assert interface.image_shape == (8, 8, 1) and interface.num_classes == 3 and stage.config.family == "cascade"
    assert interface.options == {"guidance_scale": 1.0, "aug_level": 0.0}
    assert stage.config.sampling.to_dict() == {"guidance_scale": 2.0, "aug_level": 0.25}
    assert float(stage.evaluate(stage.weights, {}, KEY)["weight"][0]) == pytest.approx(0.3)


def test_a_text_is_read_by_all_alike_or_refused():
    seen = {}
    stage, _ = draw(seen, {"tokens": jnp.ones((2, 5), jnp.int32)}, tokens=5)
    assert stage.interface.text_length == 5
    assert all(values["tokens"].shape == (2, 5) for values, _ in seen.values())
    with pytest.raises(ValueError, match="make different tokens of a text"):
        cascade.join(members({}, tokens=5, tokenizers=(1, 1, 2)))
    assert cascade.join(members({}, tokenizers=(1, 1, 2))).interface.text_length == 0


@pytest.mark.parametrize("whole", [cascade, dalle2])
def test_the_way_there_is_of_the_last_stage_alone_and_options_go_to_those_that_have_them(whole, monkeypatch):
    """A trajectory that is requested costs memory at every stage, and only the last one's is shown."""
    known = {"prior": {}, "base": {"eta": 0.0, "trajectory": True}, "large": {"trajectory": True, "aug_level": 0.0}}
    given = {}

    def load(folder, mesh):
        return Stage(None, None, ConfigDict({"name": folder.name, "sampling": known[folder.name]}), None, 0)

    def with_sampling(stage, sampling):
        given[stage.config.name] = sampling
        return stage._replace(step=1)

    def join(*parts):
        members = parts[0] if whole is cascade else {dalle2.PRIOR: parts[0], dalle2.DECODER: parts[1], **parts[2]}
        return Chain(members, None, None)

    monkeypatch.setattr(whole.stages, "load", load)
    monkeypatch.setattr(whole.stages, "with_sampling", with_sampling)
    monkeypatch.setattr(whole, "join", join)
    folders = ["runs/prior"] * (whole is dalle2) + ["runs/base", "runs/large"]
    for requested in (True, False):
        found = whole.load(folders, sampling={"trajectory": requested, "eta": 0.5, "aug_level": 0.1})
        assert all(member.step == (role != dalle2.PRIOR) for role, member in found.members.items()), "as sampled so"
        assert given["base"] == {"eta": 0.5, "trajectory": False}
        assert given["large"] == {"trajectory": requested, "aug_level": 0.1}
    assert not given.get("prior")


def test_a_chain_is_its_members_by_role():
    held = members({})
    chain = cascade.join(held)
    assert list(chain.members) == list(held) and chain.last is held["last"] and chain.reconstruct is None
    assert {role: weights.params["model"] for role, weights in chain.weights.frozen.items()} == {
        role: member.weights.params["model"] for role, member in held.items()
    }
    assert chain.spec == held["last"].spec and chain.step == held["last"].step


def test_a_decoder_alone_is_sampled_in_another_way_as_a_run(monkeypatch):
    """Its family has the name of the chain."""
    decoder = Stage(None, None, ConfigDict({"family": "dalle2", "sampling": {}}), None, 0)
    monkeypatch.setattr(
        folders.stages, "with_sampling", lambda stage, sampling: stage._replace(config=ConfigDict(sampling))
    )
    assert folders.with_sampling(decoder, {"num_steps": "3"}).config.to_dict() == {"num_steps": "3"}


@pytest.mark.parametrize(
    ("members", "words"),
    [({}, "names no members: run genjax-pipeline again"), (["base"], "names members that are no stages"),
     ({"base": "absent"}, "names members that are no stages"), ({"base": 3}, "names members that are no stages")],
)  # fmt: skip
def test_a_chain_that_names_no_members_is_to_be_written_again(tmp_path, members, words):
    written = {"stages": ["base", "up"], "sampling": "cascade", "members": members}
    (tmp_path / nesting.PIPELINE).write_text(json.dumps(written))
    with pytest.raises(ValueError, match=words):
        folders.load(tmp_path)


def test_what_a_chain_says_of_itself_is_read_once(tmp_path, monkeypatch):
    """By a program that samples it, which looks at its config before any weights are read."""
    made = nesting.Nesting(tmp_path, ("text", "first", "up"), "cascade", {"base": "first", "up": "up"})
    nesting.write(made)
    read, loaded, original = [], {}, nesting.read_json

    def read_json(path):
        read.append(path.name)
        return original(path)

    def load(folder, mesh):
        loaded[folder.name] = nesting.locate(folder)
        return Stage(None, None, ConfigDict({"sampling": {}}), None, 0)

    monkeypatch.setattr(nesting, "read_json", read_json)
    monkeypatch.setattr(cascade.stages, "load", load)
    monkeypatch.setattr(cascade.stages, "with_sampling", lambda stage, sampling: stage)
    monkeypatch.setattr(cascade, "join", lambda members: Chain(members, None, None))
    found = folders.read(tmp_path)
    assert found == made and found.workdir == tmp_path / "up"
    assert list(folders.load(found).members) == ["base", "up"]
    assert read == [nesting.PIPELINE] and loaded == {"first": tmp_path / "first", "up": tmp_path / "up"}
