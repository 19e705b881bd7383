"""
Print the project's dependencies at the lowest versions that it allows.
"""

import re
from pathlib import Path

import tomllib

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for dependency in project["dependencies"]:
    print(re.sub(r"^([\w.]+)>=([\w.]+)$", r"\1==\2", dependency))
