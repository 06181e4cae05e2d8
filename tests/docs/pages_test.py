"""README and documentation: short, and what they point to is there. That their commands run is for
`tests/integration/readme_test.py`, that the site builds without a warning for `.ci/run docs`."""

import re

import yaml


def pages(root):
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def test_the_readme_is_short(root):
    assert len((root / "README.md").read_text().split()) <= 900


def test_links_lead_somewhere(root):
    dead = []
    for page in pages(root):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            generated = "reference/" in target
            if not target.startswith("http") and not generated and not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert not dead, dead


def test_configs_in_tables_exist(root):
    known = {path.stem for path in (root / "configs").glob("*.py")}
    for page in (root / "README.md", root / "docs" / "families.md"):
        rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
        named = {name for row in rows for name in re.findall(r"`(\w+_\w+)`", row)}
        assert named <= known, f"{page.name}: {sorted(named - known)}"


def test_ci_runs_the_parts_of_our_own_script(root):
    workflow = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    parts = workflow["jobs"]["checks"]["strategy"]["matrix"]["part"]
    parts += re.findall(r"bash \.ci/run (\w+)$", "\n".join(steps), re.MULTILINE)
    defined = re.findall(r"^(\w+)\(\) \{", (root / ".ci" / "run").read_text(), re.MULTILINE)
    assert sorted(parts) == sorted(defined)
