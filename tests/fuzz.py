"""
Fuzzes a server with what hostile clients send, guided by coverage.

    python tests/fuzz.py --seconds 120

It needs atheris (the dependency group C{fuzz}).  It begins with the scenes in C{tests/corpus} and
some that it makes itself, prints its seed, how many scenes it has played and what they covered, and
fails if a scene breaks a promise; the scene is then kept in a file, which can be played again
without atheris:

    python tests/fuzz.py FILE

C{--keep} adds to C{tests/corpus} what covers something new.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CORPUS = Path(__file__).parent / "corpus"


def seeds(number: int = 40) -> list[bytes]:
    """
    Return scenes that were not found by fuzzing: the same ones at each call.
    """
    chosen = random.Random(1)  # it is no secret
    return [chosen.randbytes(chosen.randrange(20, 400)) for _ in range(number)]


def play(data: bytes) -> None:
    """
    Play one scene.
    """
    from hostile import Scene

    Scene(data).play()


def fuzz(seconds: int, seed: int, corpus: Path, found: Path) -> None:
    """
    Fuzz; ends the process.
    """
    import atheris
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    with atheris.instrument_imports(include=["avatarkit", "twisted.spread"]):
        import hostile  # noqa: F401  # for what it imports

    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-artifact_prefix={found}/",
        "-max_len=1024",
        "-timeout=20",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], play)
    atheris.Fuzz()


def main() -> None:
    """
    Do what is asked for.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="*", type=Path, help="scenes to play again")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--found", type=Path, default=Path.cwd(), help="where to keep a failure")
    parser.add_argument("--keep", action="store_true")
    asked: Any = parser.parse_args()
    for file in asked.file:
        play(file.read_bytes())
        print(f"{file} breaks no promise")  # noqa: T201  # it is a command
    if asked.file:
        return
    print(f"seed: {asked.seed}", flush=True)  # noqa: T201
    with TemporaryDirectory() as directory:
        corpus = CORPUS if asked.keep else Path(shutil.copytree(CORPUS, f"{directory}/corpus"))
        for number, data in enumerate(seeds()):
            (Path(directory) / "corpus").mkdir(exist_ok=True)
            (corpus / f"seed{number:02}").write_bytes(data)
        fuzz(asked.seconds, asked.seed, corpus, asked.found)


if __name__ == "__main__":
    main()
