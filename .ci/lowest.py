"""
Print the dependencies of a wheel at the lowest versions that it allows.

    python .ci/lowest.py WHEEL
"""

import sys
from importlib import metadata

[wheel] = metadata.distributions(path=sys.argv[1:])
for dependency in wheel.requires or []:
    if "extra ==" not in dependency:
        print(dependency.replace(">=", "==", 1))
