"""
Check that a wheel and an sdist contain what they should, and nothing else.

    python .ci/contents.py WHEEL SDIST
"""

import sys
import tarfile
import zipfile
from pathlib import Path

wheel, sdist = sys.argv[1:]
for built in (wheel, sdist):
    assert Path(built).name.startswith("txavatarkit-"), built

sources = Path("src")
files = [path for kind in ("*.py", "py.typed") for path in (sources / "avatarkit").rglob(kind)]
package = {str(path.relative_to(sources)) for path in files}

in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
assert "avatarkit/py.typed" in in_wheel
assert in_wheel == package, in_wheel ^ package

with tarfile.open(sdist) as archive:
    in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
wanted = {f"src/{name}" for name in package}
wanted |= {str(path) for path in Path("tests").glob("*.py")}
wanted |= {str(path) for path in Path("docs").rglob("*") if path.suffix in {".md", ".py"}}
wanted |= {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "conftest.py"}
assert wanted <= in_sdist, wanted - in_sdist
print(f"{len(in_wheel)} files in the wheel, {len(in_sdist)} in the sdist")
