"""
How Sphinx builds the documentation: see contributing.md.
"""

import re
import tempfile
import zlib
from importlib import metadata
from pathlib import Path

from twisted.python.reflect import namedAny

root = Path(__file__).parent.parent
package = root / "src" / "avatarkit"


def twistedInventory() -> Path:
    """
    Write an inventory of the Twisted names that docstrings link to, so that nothing is fetched from
    the network; each name must exist.
    """
    sources = "".join(path.read_text() for path in package.rglob("*.py"))
    names = set(re.findall(r"L\{(?:[^{}<]*<)?(twisted\.[\w.]+)>?\}", sources))
    for module, imported in re.findall(r"^from (twisted\.[\w.]+) import (.+)$", sources, re.M):
        names |= {
            f"{module}.{name.strip(' (')}" for name in imported.split(",") if name.strip(" (")
        }
    names |= {f"twisted.spread.pb.{name}" for name in re.findall(r"[{<]pb\.(\w+)", sources)}
    lines = []
    for name in sorted(names):
        kind = "module" if type(namedAny(name)).__name__ == "module" else "class"
        lines.append(f"{name} py:{kind} 1 {name}.html -\n")
    header = "# Sphinx inventory version 2\n# Project: Twisted\n# Version: \n"
    header += "# The remainder of this file is compressed using zlib.\n"
    path = Path(tempfile.mkdtemp()) / "objects.inv"
    path.write_bytes(header.encode() + zlib.compress("".join(lines).encode()))
    return path


project = "avatarkit"
author = "the avatarkit developers"
release = metadata.version("txavatarkit")

extensions = ["myst_parser", "sphinx.ext.intersphinx", "pydoctor.sphinx_ext.build_apidocs"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "changes.d"]
html_theme = "furo"
html_title = f"avatarkit {release}"
intersphinx_mapping: dict[str, tuple[str, None]] = {}

# The API reference: pydoctor documents zope interfaces, which autodoc drops.
pydoctor_args = [
    "--project-name=avatarkit",
    f"--project-version={release}",
    f"--project-base-dir={root}",
    "--docformat=epytext",
    "--theme=readthedocs",
    f"--intersphinx-file={twistedInventory()}::https://docs.twisted.org/en/stable/api",
    "--html-output={outdir}/api",
    str(package),
]
pydoctor_url_path = "/en/{rtd_version}/api/"
