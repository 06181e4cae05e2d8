"""Every command of the README runs as written, in its order: real networks, with fewer steps and samples.

What is changed: folders lie in the test's own, and how long a run trains and how many images are drawn. Nothing of a
network, of data or of a sampler is: a command that works with a toy alone is broken.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STEPS = 3
SHORT = {"training.num_steps": STEPS, "log.eval_every": STEPS, "log.sample_every": STEPS, "log.num_samples": 4}


def commands(text):
    """The commands of all ```bash blocks, each as (settings of the environment, program, arguments)."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
            words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
            if words:
                yield settings, words[0], words[1:]


def python_commands(root):
    """Those that start a program of `launch/`: (settings, name of the program, flags)."""
    for settings, program, arguments in commands((root / "README.md").read_text()):
        if program == "python":
            yield settings, Path(arguments[0]).stem, arguments[1:]


def config_of(flags):
    """(module of the config, variant, flags as written) of a command, or None."""
    for flag in flags:
        if found := re.fullmatch(r"--config=(?:configs/)?(\w+)(?:\.py)?(?::(\w+))?", flag):
            return importlib.import_module(f"configs.{found[1]}").get_config(found[2] or "")
    return None


def test_programs_and_configs_of_the_readme_exist(root):
    found = list(python_commands(root))
    assert len(found) > 20
    for _, program, flags in found:
        assert (root / "launch" / f"{program}.py").is_file(), program
        config = config_of(flags)
        for flag in flags:
            path = re.fullmatch(r"--config\.([\w.]+)=.*", flag)
            assert not path or _has(config, path[1]), f"{flag} names no field"
    for _, program, arguments in commands((root / "README.md").read_text()):
        assert program in ("python", "bash", "pip", "genjax-train"), (program, arguments)
        assert program != "bash" or (root / arguments[0]).is_file()


def _has(config, path):
    for name in path.split("."):
        if name not in config:
            return False
        config = config[name]
    return True


def shortened(program, flags):
    """The flags, with what makes a run short put behind them."""
    config = config_of(flags)
    if config is None:
        own = {"sample": ["--num_samples=4"], "evaluate": ["--num_samples=40"]}.get(program, [])
        asked = any(flag.startswith(("--prompt", "--inpaint", "--sdedit", "--interpolate")) for flag in flags)
        return [flag for flag in flags if not (own and flag.startswith("--num_samples="))] + ([] if asked else own)
    if "order" not in config:
        return [*flags, *(f"--config.{name}={value}" for name, value in SHORT.items() if _longer(config, name))]
    stages = {name: config.stages[name] for name in config.order}
    changes = [
        f"--config.stages.{stage}.{name}={value}"
        for stage, settings in stages.items()
        for name, value in SHORT.items()
        if _longer(settings, name)
    ]
    return [*flags, "--config.samples=4", *changes]


def _longer(config, name):
    """Whether a run does this at all: one of no steps, or that draws nothing, stays so."""
    group, field = name.split(".")
    return bool(config[group][field])


@pytest.mark.slow
def test_the_commands_of_the_readme(root, tmp_path):
    """In the README's order, since later ones use what earlier ones made."""
    for name in ("picture", "other", "from", "to", "heart"):
        values = np.random.default_rng(len(name)).integers(0, 256, (8, 8, 1), np.uint8)
        Image.fromarray(values.repeat(4, 0).repeat(4, 1)[..., 0]).save(tmp_path / f"{name}.png")
    Image.fromarray(np.repeat(np.uint8([[255] * 16 + [0] * 16]), 32, 0)).save(tmp_path / "mask.png")
    folder = tmp_path / "pictures"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for index in range(80):
            pixels = np.random.default_rng(index).integers(0, 256, (40, 36, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")
    failed = []
    for settings, program, flags in python_commands(root):
        flags = [flag.replace("/path/to/pictures", str(folder)) for flag in shortened(program, flags)]
        command = [sys.executable, str(root / "launch" / f"{program}.py"), *flags]
        command = [re.sub(r"(?<==)configs/", f"{root}/configs/", word) for word in command]
        environment = {**os.environ, "XLA_FLAGS": "", **settings, "PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=3600)
        shown = shlex.join([f"launch/{program}.py", *flags])
        print(f"{done.returncode} {shown}", flush=True)
        if done.returncode:
            failed.append(f"{shown}\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    assert not failed, "\n\n".join(failed)
