"""Every command of the README and of `docs/` runs as written: real networks, with fewer steps and samples.

What is changed: folders lie in the test's own, and how long a run trains and how many images are drawn. Nothing of a
network, of data or of a sampler is: a command that works with a toy alone is broken.

Each command is a test of its own, to be chosen by `-k` (`-k dalle`); those before it that make what it works on run
first, once in all. With `-s` it is seen what each says.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from genjax.families.options import OPTIONS
from genjax.launcher.sampling_flags import EDITS

ROOT = Path(__file__).parents[2]
STEPS = 3
SHORT = {"training.num_steps": STEPS, "log.eval_every": STEPS, "log.sample_every": STEPS, "log.num_samples": 4}
MAKERS = ("train", "pipeline", "convert", "encode")
"""Programs that make, or complete, the run in their workdir."""


class Command(NamedTuple):
    """A command as it is written.

    Attributes:
        page: the file that has it.
        settings: of the environment.
        program: the first word.
        arguments: the other words.
    """

    page: Path
    settings: dict[str, str]
    program: str
    arguments: list[str]

    @property
    def launched(self) -> str:
        """The name of the program of `launch/`; empty if it starts none."""
        return Path(self.arguments[0]).stem if self.program == "python" else ""

    @property
    def runs(self) -> set[str]:
        """The folders of runs that it names."""
        return {name for word in self.arguments for name in re.findall(r"\bruns/\w+", word)}

    @property
    def makes(self) -> str:
        """The folder of the run that it makes, or completes; empty if it makes none."""
        if self.launched not in MAKERS:
            return ""
        return next(word.split("=", 1)[1] for word in self.arguments if word.startswith("--workdir="))

    @property
    def name(self) -> str:
        """What it is called among the tests."""
        what = [re.sub(r"^(configs|runs)/|\.py", "", word.split("=", 1)[1]) for word in self.arguments if "=" in word]
        return f"{self.launched}-{'-'.join(what[:2])}"


def pages(root):
    """What has commands, the README first."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def commands(root):
    """The commands of all ```bash blocks of all pages."""
    for page in pages(root):
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
                words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
                if words:
                    yield Command(page, settings, words[0], words[1:])


def launched(root):
    """The commands that start a program of `launch/`; what several pages say is there once."""
    found = {}
    for command in commands(root):
        if command.launched:
            found.setdefault((*command.settings.items(), *command.arguments), command)
    return list(found.values())


COMMANDS = launched(ROOT)


def needed(number):
    """The numbers of the commands before this one that make what it works on."""
    return [earlier for earlier in range(number) if COMMANDS[earlier].makes in COMMANDS[number].runs]


def config_of(flags):
    """The config of a command, or None."""
    for flag in flags:
        if found := re.fullmatch(r"--config=(?:configs/)?(\w+)(?:\.py)?(?::(\w+))?", flag):
            return importlib.import_module(f"configs.{found[1]}").get_config(found[2] or "")
    return None


def test_programs_configs_and_files_of_the_commands_exist(root):
    assert len(COMMANDS) > 20
    for command in commands(root):
        assert command.program in ("python", "bash", "pip"), command
        assert command.program == "pip" or (root / command.arguments[0]).is_file(), command
    for command in COMMANDS:
        config = config_of(command.arguments)
        for flag in command.arguments:
            path = re.fullmatch(r"--config\.([\w.]+)=.*", flag)
            assert not path or _has(config, path[1]), f"{flag} names no field"


def _has(config, path):
    for name in path.split("."):
        if name not in config:
            return False
        config = config[name]
    return True


def test_what_a_command_works_on_is_made_by_one_before_it():
    for number, command in enumerate(COMMANDS):
        made = {COMMANDS[earlier].makes for earlier in needed(number)}
        assert command.runs <= made | {command.makes}, f"{command.page.name}: {shlex.join(command.arguments)}"


def test_flags_that_the_pages_name_exist(root):
    """In commands and between them."""
    known = {"config", "seed", "stage", "accept_changed_data", *OPTIONS, *EDITS}
    for path in (*(root / "launch").glob("*.py"), *(root / "genjax" / "launcher").glob("*.py")):
        known |= set(re.findall(r"(?:DEFINE|define)_\w+\(\s*\"(\w+)\"", path.read_text()))
    for page in pages(root):
        text = re.sub(r"^ *(pip|git|XLA_FLAGS)\b.*", "", page.read_text(), flags=re.MULTILINE)
        flags = set(re.findall(r"(?<![\w-])--(\w+)\b(?!-)", text))
        assert flags <= known, page.name


def shortened(command):
    """Its flags, with what makes a run short put behind them."""
    program, flags = command.launched, command.arguments[1:]
    if program == "mutate":
        return [*flags, "--count=1"]
    config = config_of(flags)
    if config is None:
        own = {"sample": ["--num_samples=4"], "evaluate": ["--num_samples=40"]}.get(program, [])
        requested = any(flag.startswith(("--prompt", "--inpaint", "--sdedit", "--interpolate")) for flag in flags)
        return [flag for flag in flags if not (own and flag.startswith("--num_samples="))] + ([] if requested else own)
    if program not in ("train", "pipeline"):
        return flags
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


class Pages:
    """The commands, each run at most once, in a folder that has the images that they name."""

    def __init__(self, root: Path, folder: Path):
        self._root, self._folder = root, folder
        self._ended: dict[int, tuple[int, str]] = {}
        named = {name for command in COMMANDS for word in command.arguments for name in re.findall(r"(\w+)\.png", word)}
        for name in named - {"mask"}:
            values = np.random.default_rng(len(name)).integers(0, 256, (8, 8, 1), np.uint8)
            Image.fromarray(values.repeat(4, 0).repeat(4, 1)[..., 0]).save(folder / f"{name}.png")
        Image.fromarray(np.repeat(np.uint8([[255] * 16 + [0] * 16]), 32, 0)).save(folder / "mask.png")
        for label in ("cat", "dog"):
            (folder / "images" / label).mkdir(parents=True)
            for index in range(80):
                pixels = np.random.default_rng(index).integers(0, 256, (40, 36, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "images" / label / f"{index}.png")

    def run(self, number: int) -> tuple[int, str]:
        """The exit code of a command, after those that it needs, and what it said."""
        if number not in self._ended:
            for earlier in needed(number):
                code, said = self.run(earlier)
                assert not code, f"it needs another command, which failed: {said}"
            self._ended[number] = self._run(COMMANDS[number])
        return self._ended[number]

    def _run(self, command: Command) -> tuple[int, str]:
        flags = [re.sub(r"/path/to/\w+", f"{self._folder}/images", flag) for flag in shortened(command)]
        words = [sys.executable, str(self._root / "launch" / f"{command.launched}.py"), *flags]
        words = [re.sub(r"(?<=[=:])configs/", f"{self._root}/configs/", word) for word in words]
        environment = {**os.environ, **command.settings, "PYTHONPATH": str(self._root)}
        # As all tests: most of the time goes into compiling.
        environment["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {command.settings.get('XLA_FLAGS', '')}"
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
        environment["TFDS_DATA_DIR"] = str(self._folder / "datasets")
        environment["JAX_COMPILATION_CACHE_DIR"] = str(self._root / ".cache" / "xla")
        begun = time.monotonic()
        done = subprocess.run(words, cwd=self._folder, env=environment, text=True, capture_output=True, timeout=3600)
        shown = shlex.join([f"launch/{command.launched}.py", *flags])
        said = f"{shown}\n{done.stdout[-2000:]}\n{_without_bars(done.stderr)[-2000:]}"
        print(f"\n{done.returncode}, {time.monotonic() - begun:.0f} s: {said}", flush=True)
        return done.returncode, said


def _without_bars(text: str) -> str:
    """What a program said beside its progress bars."""
    return "\n".join(line for line in re.split(r"[\r\n]+", text) if line.strip() and not re.search(r"\d%\|", line))


@pytest.fixture(scope="module")
def all_pages(root, tmp_path_factory):
    """What runs the commands."""
    return Pages(root, tmp_path_factory.mktemp("pages"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[command.name for command in COMMANDS])
def test_a_command_runs(all_pages, number):
    code, said = all_pages.run(number)
    assert not code, said
