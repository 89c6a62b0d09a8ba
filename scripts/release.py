"""Builds and checks a release: `make release`. Nothing is published.

    python scripts/release.py --repository https://HOST/OWNER/NAME   # everything; the address goes into the metadata
    python scripts/release.py                          # everything, to try it: the metadata has no address
    python scripts/release.py --environments newest    # one of the two installations
    python scripts/release.py --environments           # none: builds and checks the files only

The source distribution and the wheel are built into dist/ (the wheel from the source distribution) and checked with
twine. The wheel is installed into fresh environments, with the newest allowed dependencies and with the oldest, where
the demo runs. At the end stands what is still to be done by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
ENVIRONMENTS = ("newest", "oldest")
DEMO = ("demo", "sets=[vae]", "limit=60", "limit_reference=60", "limit_train=60", "progress=false", "out=demo")


def version() -> str:
    (found,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "genaudit" / "__init__.py").read_text(), re.MULTILINE)
    return found


def inconsistencies() -> list[str]:
    """What the files of the repository say differently of the version."""
    said = {
        "CITATION.cff": re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE),
        "CHANGELOG.md": re.findall(r"^## \[(\d.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[:1],
    }
    return [
        f"{name} says {', '.join(found) or 'nothing'}, genaudit/__init__.py {version()}"
        for name, found in said.items()
        if found != [version()]
    ]


def floors() -> list[str]:
    """The dependencies of pyproject.toml, each at its oldest allowed version."""
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    found = re.findall(r'^    "([\w-]+)[>=]=([\d.]+)', block, re.MULTILINE)
    return [f"{name}=={least}" for name, least in found]


def run(*command: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None) -> None:
    print("$", *command, flush=True)
    subprocess.run(list(map(str, command)), cwd=cwd or ROOT, env=environment, check=True)


def build(repository: str) -> Path:
    """Makes dist/; returns the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, environment={**os.environ, "GENAUDIT_REPOSITORY": repository})
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    (wheel,) = DIST.glob("*.whl")
    return wheel


def try_out(wheel: Path, kind: str) -> None:
    """Installs the wheel into an environment of its own and runs the demo there, outside the repository."""
    with tempfile.TemporaryDirectory(prefix=f"genaudit_{kind}_") as folder:
        venv.create(Path(folder, "venv"), with_pip=True)
        program = Path(folder, "venv", "bin")
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(floors() if kind == "oldest" else []))
        run(program / "python", "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel)
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        clean["GENAUDIT_STORE"] = str(Path(folder, "store"))
        run(program / "genaudit", "--version", cwd=Path(folder), environment=clean)
        run(program / "genaudit", *DEMO, cwd=Path(folder), environment=clean)
        run(program / "python", "-m", "pip", "check", cwd=Path(folder), environment=clean)


def left_to_do(repository: str) -> list[str]:
    """Steps that a person takes."""
    steps = [f"correct: {each}" for each in inconsistencies()]
    if not repository:
        steps.append(
            "make release REPOSITORY=https://HOST/OWNER/NAME, so that the metadata says where the project lives"
        )
    return [
        *steps,
        f"git tag -a v{version()} -m 'genaudit {version()}' && git push --tags",
        "python -m twine upload --repository testpypi dist/*   # then install it from there and run the demo",
        "python -m twine upload dist/*",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environments", nargs="*", choices=ENVIRONMENTS, default=ENVIRONMENTS)
    parser.add_argument("--repository", default="", help="the public address of the repository that publishes")
    arguments = parser.parse_args()
    wheel = build(arguments.repository)
    for kind in arguments.environments:
        try_out(wheel, kind)
    print(f"\n{wheel.name} and its source distribution are in dist/. To publish them:")
    for number, step in enumerate(left_to_do(arguments.repository), 1):
        print(f"  {number}. {step}")


if __name__ == "__main__":
    main()
