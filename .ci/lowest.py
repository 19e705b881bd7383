"""
Print the project's dependencies at the lowest versions that it allows.
"""

from pathlib import Path

import tomllib

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for dependency in project["dependencies"]:
    print(dependency.replace(">=", "==", 1))
