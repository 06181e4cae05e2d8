"""The lowest versions of the requirements that setup.py allows, as constraints for pip, one a line.

python launch/lowest.py > lowest.txt && pip install -c lowest.txt -e '.[test]'
"""

import ast
import re
import sys
from pathlib import Path

REQUIREMENT = re.compile(r"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?>=([\w.]+)(?:,.*)?")


def lowest(setup: str) -> list[str]:
    """`NAME==VERSION` for each requirement `NAME>=VERSION` in the source of a setup.py, in order, once.

    Raises:
        ValueError: if one is required at two lowest versions.
    """
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(setup)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if match := REQUIREMENT.fullmatch(node.value):
                name, version = match[1], match[2]
                if found.setdefault(name, version) != version:
                    raise ValueError(f"setup.py requires {name}>={found[name]} and {name}>={version}: keep one")
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    print("\n".join(lowest((root / "setup.py").read_text())))
