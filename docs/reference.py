"""Pages of the API reference, one a public module, from the docstrings: run by mkdocs (plugin gen-files)."""

from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[1]

nav = mkdocs_gen_files.Nav()
for path in sorted((ROOT / "genjax").rglob("*.py")):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    if any(part.startswith("_") for part in parts):
        continue
    packed = path.name == "__init__.py"
    page = Path(*parts, "index.md") if packed else Path(*parts).with_suffix(".md")
    nav[parts] = page.as_posix()
    with mkdocs_gen_files.open(Path("reference") / page, "w") as file:
        file.write(f"# {'.'.join(parts)}\n\n::: {'.'.join(parts)}\n")

with mkdocs_gen_files.open("reference/SUMMARY.md", "w") as file:
    file.writelines(nav.build_literate_nav())
