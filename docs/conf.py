"""
How Sphinx builds the documentation: see contributing.md.
"""

import re
import sys
import tempfile
import zlib
from importlib import metadata
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.domains.python import ModuleEntry, ObjectEntry, PythonDomain
from sphinx.environment import BuildEnvironment
from twisted.python.reflect import namedAny
from zope.interface.interface import InterfaceClass

root = Path(__file__).parent.parent
package = root / "src" / "avatarkit"
sys.path[:0] = [str(root / "docs"), str(root / "src")]  # apireference.py imports the package


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
        thing, (inside, _, last) = namedAny(name), name.rpartition(".")
        if isinstance(thing, ModuleType):
            lines.append(f"{name} py:module 1 {name}.html -\n")
        elif isinstance(thing, (type, InterfaceClass)):
            lines.append(f"{name} py:class 1 {name}.html -\n")
        else:
            lines.append(f"{name} py:function 1 {inside}.html#{last} -\n")
    header = "# Sphinx inventory version 2\n# Project: Twisted\n# Version: \n"
    header += "# The remainder of this file is compressed using zlib.\n"
    path = Path(tempfile.mkdtemp()) / "objects.inv"
    path.write_bytes(header.encode() + zlib.compress("".join(lines).encode()))
    return path


project = "avatarkit"
author = "the avatarkit developers"
release = metadata.version("txavatarkit")

extensions = ["myst_parser", "pydoctor.sphinx_ext.build_apidocs"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "changes.d"]
html_theme = "furo"
html_title = f"avatarkit {release}"
html_domain_indices = False  # the reference has its own

# The API reference: pydoctor documents zope interfaces, which autodoc drops.
pydoctor_args = [
    "--project-name=avatarkit",
    f"--project-version={release}",
    "--project-url=../index.html",
    f"--project-base-dir={root}",
    f"--template-dir={root / 'docs' / 'apitemplates'}",
    "--system-class=apireference.System",
    "--privacy=PRIVATE:avatarkit._*.*",
    "--privacy=PRIVATE:avatarkit._*.*.*",
    "--privacy=PRIVATE:avatarkit.testing._*.*",
    "--privacy=PRIVATE:avatarkit.transports._*.*",
    "--privacy=PRIVATE:avatarkit.transports._*.*.*",
    "--privacy=HIDDEN:avatarkit.**.__attrs_post_init__",
    "--privacy=HIDDEN:avatarkit.**.__repr__",
    "--privacy=HIDDEN:avatarkit.**.__slots__",
    "--docformat=epytext",
    "--theme=readthedocs",
    f"--intersphinx-file={twistedInventory()}::https://docs.twisted.org/en/stable/api",
    "--html-output={outdir}/api",
    str(package),
]


def nameReference(app: Sphinx, env: BuildEnvironment) -> None:
    """
    Tell Sphinx what is where in the reference, which pydoctor builds before Sphinx reads the pages:
    these link to it by C{[text](#avatarkit.Realm)}, and other projects through intersphinx.
    """
    domain = env.domains["py"]
    assert isinstance(domain, PythonDomain)
    domain.objects.clear()
    domain.modules.clear()
    if app.builder.name != "html":
        return
    inventory = Path(app.outdir, "api.pydoctor_temp", "objects.inv").read_bytes()
    for line in zlib.decompress(inventory.split(b"\n", 4)[4]).decode().splitlines():
        name, kind, _, address, _ = line.split(" ")
        if re.search(r"\._(?!_)", name):  # private
            continue
        page, _, anchor = address.partition("#")
        page, kind = f"api/{page.removesuffix('.html')}", kind.removeprefix("py:")
        inside, _, last = name.rpartition(".")
        if kind == "module":
            domain.modules[name] = ModuleEntry(page, "", "", "", False)
        elif inside in domain.modules:
            kind = "data" if kind == "attribute" else kind
            # Other projects' autodoc asks for a name where it is defined.
            defined = f"{namedAny(name).__module__}.{last}"
            domain.objects[defined] = ObjectEntry(page, anchor, kind, True)
        domain.objects[name] = ObjectEntry(page, anchor, kind, False)


def setup(app: Sphinx) -> None:
    """
    Called by Sphinx.
    """
    app.connect("env-updated", nameReference)
