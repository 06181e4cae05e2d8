"""Which tests a planted fault has to fail, and whether it does: in a copy of the tree, never in the checkout."""

import ast
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.mutation.operators import Mutant, choose, mutants

SLOW = ("tests/integration", "tests/parity")
"""Folders of tests that are run for their own modules only, since they take long, or need more than the house."""


def sources(root: Path, only: str) -> list[str]:
    """The files of the package in a folder, or the one file.

    Raises:
        ValueError: if there are none.
    """
    path = root / only
    files = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
    names = [str(file.relative_to(root)) for file in files if file.is_file() and file.stat().st_size]
    if not only.startswith("genjax") or not names:
        raise ValueError(f"--only={only} has to be a folder or a file of genjax/")
    return names


def tests_of(root: Path, path: str) -> list[str]:
    """The files of tests for a module, the nearest first: its mirror, those of whatever imports it in the package (and
    whatever imports that), tests that import it, tests that import these importers.

    Tests of whole programs, and against other people's networks, are left out.
    """
    graph = {str(file.relative_to(root)): _imports(file) for file in _python(root)}
    near, found = [path], []
    for _ in range(2):
        modules = {_module(name) for name in near}
        near += [name for name, imported in graph.items() if imported & modules and name not in near]
    found += [_mirror(name) for name in near if name.startswith("genjax")]
    found += [name for name, imported in graph.items() if _module(path) in imported]
    found += near
    chosen = [name for name in dict.fromkeys(found) if name in graph and name.endswith("_test.py")]
    return [name for name in chosen if not name.startswith(SLOW)]


def _mirror(path: str) -> str:
    """The file of tests of a module."""
    return str(Path("tests") / Path(path).relative_to("genjax").with_name(f"{Path(path).stem}_test.py"))


def run(root: Path, chosen: Iterable[Mutant], results: Path, tests: list[str], timeout: int, limit: int) -> None:
    """Try each fault that `results` doesn't know yet, and note there what became of it, one JSON a line.

    Args:
        root: of the checkout, which is copied.
        chosen: the faults.
        results: a file of JSON lines.
        tests: files that are run; empty for `tests_of` each.
        timeout: processor seconds for a fault, after which it counts as found: it hangs. So it does after ten times as
            many seconds by the clock, however busy the machine is.
        limit: files of tests run for one fault, at most.
    """
    known = {line["name"] for line in read(results)}
    left = [mutant for mutant in chosen if mutant.name not in known]
    with tempfile.TemporaryDirectory() as folder:
        copy = _copy(root, Path(folder))
        for mutant in left:
            files = tests or tests_of(root, mutant.path)[:limit]
            original = (copy / mutant.path).read_text()
            (copy / mutant.path).write_text(mutant.text)
            started = time.monotonic()
            try:
                verdict, by = _verdict(copy, files, timeout)
            finally:
                (copy / mutant.path).write_text(original)
            line = {"name": mutant.name, "path": mutant.path, "verdict": verdict, "by": by}
            line |= {"seconds": round(time.monotonic() - started), "diff": mutant.diff(original), "tests": len(files)}
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{verdict:8} {line['seconds']:4}s {mutant.name}", flush=True)


def read(results: Path) -> list[dict]:
    """What is known of faults that were tried; nothing if there is no such file."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def report(lines: list[dict]) -> str:
    """The share of faults that were found, by folder, and each that was not, with its place and diff."""
    tried, found = Counter(), Counter()
    for line in lines:
        folder = "/".join(line["path"].split("/")[:2])
        tried[folder] += 1
        found[folder] += line["verdict"] != "survived"
    table = [f"{folder:30} {found[folder]:4} of {tried[folder]:4}" for folder in sorted(tried)]
    lived = [f"\n{line['name']}\n{line['diff']}" for line in lines if line["verdict"] == "survived"]
    total = f"{'all':30} {found.total():4} of {tried.total():4}"
    return "\n".join([*(["survivors:", *lived, ""] if lived else []), *table, total])


def sample(root: Path, only: str, count: int, seed: int) -> list[Mutant]:
    """So many faults of a folder or a file, by the seed."""
    return choose(
        [one for name in sources(root, only) for one in mutants(name, (root / name).read_text())], count, seed
    )


def _verdict(copy: Path, files: list[str], timeout: int) -> tuple[str, str]:
    """("killed", the test that failed), ("timeout", "") or ("survived", "")."""
    if not files:
        return "survived", "no tests"
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *files]
    process = subprocess.Popen(
        command, cwd=copy, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (timeout, timeout)),
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=10 * timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "timeout", ""
    if process.returncode == 0:
        return "survived", ""
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout", ""
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "killed", failed[0] if failed else f"exit code {process.returncode}"


def _copy(root: Path, folder: Path) -> Path:
    """The files that git knows or would add, with the compilations that were made before."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    if (root / ".cache").is_dir():
        (folder / ".cache").symlink_to(root / ".cache")
    return folder


def _python(root: Path) -> Iterator[Path]:
    return (file for folder in ("genjax", "tests", "configs") for file in sorted((root / folder).rglob("*.py")))


def _module(path: str) -> str:
    return ".".join(Path(path).with_suffix("").parts)


def _imports(file: Path) -> set[str]:
    """The dotted names that a file imports, each also without its last part: it may be a name in a module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found
