"""The licences of what the project installs, and known vulnerabilities of it: `python docs/dependencies.py [--audit]`.

A report, read from the installed packages: it needs no network, and `--audit` says so where pip-audit finds none.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("app", "train", "transformers", "trackers")
COPYLEFT = re.compile(r"\bA?GPL|\bLGPL|\bMPL|\bEUPL|\bCDDL|GNU|Mozilla|Proprietary", re.IGNORECASE)
AUDIT_SECONDS = 60
# Libraries inside wheels whose licence the package's own metadata does not name.
BUNDLED = {"libx264": "GPL-2.0-or-later", "libx265": "GPL-2.0-or-later", "libavcodec": "LGPL-2.1-or-later, see below"}


@dataclass(frozen=True)
class Package:
    """An installed package. licence: as its metadata name it, "unknown" where they do not."""

    name: str
    version: str
    licence: str

    @property
    def is_copyleft(self) -> bool:
        """Whether its licence has conditions for those who pass it on."""
        return bool(COPYLEFT.search(self.licence))


def normalised(name: str) -> str:
    """The name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(root: str = "tevit-studio", extras: Sequence[str] = EXTRAS) -> Iterator[str]:
    """The names of everything that a package needs here, itself left out; what is not installed is skipped."""
    seen: set[str] = set()
    open_: list[tuple[str, tuple[str, ...]]] = [(root, tuple(extras))]
    while open_:
        name, chosen = open_.pop()
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            environments = [{"extra": extra} for extra in ("", *chosen)]
            if requirement.marker is not None and not any(map(requirement.marker.evaluate, environments)):
                continue
            if (own := normalised(requirement.name)) not in seen:
                seen.add(own)
                open_.append((own, tuple(requirement.extras)))
    yield from sorted(seen)


def installed(names: Iterator[str]) -> Iterator[Package]:
    """Those of the names that are installed, with their licences."""
    for name in names:
        try:
            yield Package(name, version(name), licence(name))
        except PackageNotFoundError:
            continue


def licence(name: str) -> str:
    """The SPDX expression; else the classifiers, else the first line of the field, of an installed package."""
    fields = metadata(name)
    if expression := fields.get("License-Expression"):
        return expression
    classifiers = [text.rpartition(" :: ")[2] for text in fields.get_all("Classifier") or [] if "License ::" in text]
    if classifiers:
        return ", ".join(classifiers)
    return (fields.get("License") or "").strip().partition("\n")[0][:60] or "unknown"


def bundled_libraries(package: str) -> list[str]:
    """Names of libraries in a wheel, of BUNDLED, with their licences."""
    folder = Path(str(__import__(package).__file__)).parents[1] / f"{package}.libs"
    names = {file.name.partition("-")[0].partition(".")[0] for file in folder.glob("*")} if folder.is_dir() else set()
    return [f"{name} ({BUNDLED[name]})" for name in sorted(names & BUNDLED.keys())]


def audit() -> str:
    """One sentence: what pip-audit says of the environment, or why it says nothing."""
    command = shutil.which("pip-audit") or shutil.which("pip-audit", path=str(Path(sys.executable).parent))
    if command is None:
        return "pip-audit: NOT RUN, it is not installed (pip install pip-audit)"
    site = str(Path(str(__import__("packaging").__file__)).parents[1])
    arguments = [command, "--path", site, "--progress-spinner", "off", "--timeout", "10", "--desc", "off"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"pip-audit: NOT RUN to its end within {AUDIT_SECONDS} s"
    unknown = done.stdout.count("could not be audited")
    if "Name" not in done.stdout and done.returncode not in (0, 1):
        return (
            f"pip-audit: NOT RUN, {done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else 'no answer'}"
        )
    vulnerabilities = [line for line in done.stdout.splitlines() if re.search(r"\b(PYSEC|CVE|GHSA)-", line)]
    head = f"pip-audit: {len(vulnerabilities)} known vulnerabilities; {unknown} packages could not be audited"
    return "\n".join([head, *vulnerabilities])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; the exit code is always 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", action="store_true", help="also ask pip-audit, where it is installed")
    args = parser.parse_args(argv)
    packages = [*installed(needed())]
    print("| package | version | licence |\n|---|---|---|")
    for package in packages:
        print(f"| {package.name} | {package.version} | {package.licence}{' ←' if package.is_copyleft else ''} |")
    print(f"\n{len(packages)} packages; ← has conditions for who passes it on: ", end="")
    print(", ".join(package.name for package in packages if package.is_copyleft) or "none")
    print(f"in the wheel of PyAV: {', '.join(bundled_libraries('av')) or 'no library of its own'}")
    if args.audit:
        print(audit())
    return 0


if __name__ == "__main__":
    sys.exit(main())
