"""Prints a pip constraint for the oldest release that each runtime dependency in ``pyproject.toml`` allows."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
users = [
    requirements for extra, requirements in project["optional-dependencies"].items() if extra not in ("docs", "test")
]
for requirement in [*project["dependencies"], *(one for requirements in users for one in requirements)]:
    name, oldest = re.match(r"([\w.-]+)>=([\w.]+)", requirement).groups()
    print(f"{name}=={oldest}")
