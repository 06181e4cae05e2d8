"""Numbers out of range and paths to elsewhere are refused by name when a config is read."""

import math

import pytest
from ml_collections import ConfigDict

from genjax.configs import ddpm_digits, vqvae_digits_pipeline
from genjax.training import config_check


def _config(**changed):
    config = ddpm_digits.get_config("tiny").unlock()
    with config.ignore_type():
        for name, value in changed.items():
            *sections, field = name.split(".")
            section = config
            for inner in sections:
                if not isinstance(section.get(inner), ConfigDict):
                    section[inner] = ConfigDict()
                section = section[inner]
            section[field] = value
    return config


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("seed", [-1, 2**32, 1e20, 0.5, "7", None], [0, 2**32 - 1]),
        ("training.num_steps", [-5, 1.5, "3", True], [0]),
        ("training.microbatches", [0, -1], [1]),
        ("training.ema.decay", [-0.1, 1.0, math.nan], [0.0, 0.999]),
        ("data.batch_size", [0, -8], [1]),
        ("data.num_workers", [-1], [0]),
        ("data.read_threads", [0], [1]),
        ("data.image_size", [0, -8], [8]),
        ("data.channels", [0], [3]),
        ("data.tokenizer.length", [0, "16", None], [16]),
        ("data.tokenizer.vocab_size", [-5, "x", 300.5], [300]),
        ("data.max_broken", [-0.1, "1%", math.nan, None], [0.5]),
        ("model.network.channel_mult", [(0,), (1, -2), (math.nan,)], [(1, 2), (0.5, 1)]),
        ("model.network.attention_resolutions", [(-8,), (0,)], [(), (8, 4)]),
        ("sampling.guidance_interval", [(-1.0, 2.0)], [(), (0.0, 2.0)]),
        ("checkpoint.every", [-1], [0]),
        ("checkpoint.keep", [0, -1], [1]),
        ("log.every", [-1], [0, 10]),
        ("log.num_samples", [0], [1]),
        ("mesh.data", [0, -2], [-1, 1]),
        ("mesh.fsdp", [0], [1]),
        ("optimizer.model.learning_rate", [0.0, -1e-3, math.nan, math.inf], [1e-9]),
        ("optimizer.model.clip_norm", [-1.0, math.nan], [0.0]),
        ("optimizer.model.warmup_steps", [-1], [0]),
        ("optimizer.model.b1", [1.0, -0.1], [0.0]),
        ("optimizer.model.eps", [0.0], [1e-8]),
        ("optimizer.model.layer_decay", [0.0, 1.1], [1.0]),
        ("model.label_dropout", [-0.1, 1.1, math.nan], [0.0, 1.0]),
        ("model.network.dropout", [-0.1, 1.1], [0.0]),
        ("model.network.width", [0, 1.5], [8]),
        ("model.network.alpha", [0.0, 0.5, -0.1], [0.05]),
        ("model.schedule.num_steps", [0], [1]),
        ("model.low_res.blur", [(0.1, math.nan)], [(0.1, 0.2)]),
        ("model.anything.new", [math.nan, math.inf], [-3.0]),
        ("sampling.temperature", [-1.0, math.nan], [0.0]),
        ("sampling.top_k", [-3.0, 1.5], [0.0]),
        ("sampling.top_p", [0.0, -0.5, 1.5], [1.0]),
        ("sampling.guidance_scale", [math.inf, math.nan], [-1.0, 7.5]),
        ("sampling.batch_size", [0], [1]),
        ("sampling.strength", [1.5], [1.0]),
    ],
)
def test_numbers_have_ranges(field, wrong, right):
    for value in right:
        config_check.check(_config(**{field: value}))
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^config\.{field}=.* must be a (whole|finite) number"):
            config_check.check(_config(**{field: value}))


def test_paths_are_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    fields = {
        "data.name": "folder:~/pets",
        "data.data_dir": "~/data",
        "data.encoded": "~/codes",
        "init_from": "t5:~/t5",
        "stages.tokenizer.workdir": "~/vqvae",
        "data.tokenizer.file": "~/bpe.json",
    }
    given = _config(**fields)
    checked = config_check.check(given)
    assert checked.data.name == f"folder:{tmp_path}/pets" and checked.data.data_dir == f"{tmp_path}/data"
    assert checked.data.encoded == f"{tmp_path}/codes" and checked.init_from == f"t5:{tmp_path}/t5"
    assert checked.stages.tokenizer.workdir == f"{tmp_path}/vqvae"
    assert checked.data.tokenizer.file == f"{tmp_path}/bpe.json"
    assert given.data.name == "folder:~/pets", "the config that was given is left as it is"
    for same in ("folder:pets", "digits", "captioned_shapes/32", "mnist:3.0.1"):
        assert config_check.check(_config(**{"data.name": same})).data.name == same
    for same in ("minilm:", "t5:/models/t5", "../tokenizer", ""):
        assert config_check.check(_config(init_from=same)).init_from == same


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.name", "folder:gs://b/x"),
        ("data.name", "gs://b/x"),
        ("data.data_dir", "gs://b"),
        ("data.encoded", "s3://b/codes"),
        ("init_from", "gs://b/run"),
        ("init_from", "t5:gs://b/t5"),
        ("stages.tokenizer.workdir", "hdfs://h/run"),
        ("stages.tokenizer.workdir", "~nobody-of-this-name/run"),
    ],
)
def test_paths_elsewhere_are_refused(field, value):
    with pytest.raises(ValueError, match=f"^config.{field}={value}: "):
        config_check.check(_config(**{field: value}))


@pytest.mark.parametrize("value", [(3.0, 1.0), (1.0,), (1.0, 2.0, 3.0), 2.0])
def test_an_interval_has_two_ends_in_order(value):
    with pytest.raises(ValueError, match=r"^config.sampling.guidance_interval=.* must be \(low, high\), or \(\)"):
        config_check.check(_config(**{"sampling.guidance_interval": value}))


@pytest.mark.parametrize("field", ["data.name", "data.split", "data.data_dir", "init_from", "family", "data.crop"])
@pytest.mark.parametrize("value", [None, 3, True, ("a",)])
def test_texts_are_texts(field, value):
    with pytest.raises(ValueError, match=f"^config.{field}=.* must be a text|has no field"):
        config_check.check(_config(**{field: value}))


@pytest.mark.parametrize("path", ["/data/pets", "./pets", "../pets", "~/pets"])
def test_a_path_of_images_is_told_how_it_is_written(path):
    with pytest.raises(ValueError, match=f"config.data.name={path} is a path: write folder:{path} for a"):
        config_check.check(_config(**{"data.name": path}))


def test_what_is_no_config_of_a_run():
    with pytest.raises(ValueError, match="of a chain of runs .tokenizer, prior., .* genjax-pipeline"):
        config_check.check(vqvae_digits_pipeline.get_config("tiny"))
    with pytest.raises(ValueError, match="no field family: let it start from genjax.configs.recipes.common.base"):
        config_check.check(ConfigDict({"seed": 0}))
    config = _config()
    del config.log.num_samples
    with pytest.raises(ValueError, match="no field log.num_samples"):
        config_check.check(config)


@pytest.mark.parametrize("field", ["model.dtype", "model.network.dtype", "model.network.param_dtype"])
def test_precisions_that_cannot_be_trained_in_are_refused(field):
    for wrong in ("float16", "half", "fp16", "float64", "int8", 16):
        with pytest.raises(ValueError, match=rf"config.{field}={wrong!r} .*'bfloat16', 'float32'") as refusal:
            config_check.check(_config(**{field: wrong}))
        assert ("float32's range" in str(refusal.value)) == (wrong in ("float16", "half", "fp16"))
    for right in ("bfloat16", "float32", None):
        config_check.check(_config(**{field: right}))
