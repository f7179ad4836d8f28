"""Known faults of the pinned packages, and whether the index still has the files whose hashes are pinned.

python tests/audit.py TOOLS          where TOOLS is a folder with pip-audit and uv, as `make audit` makes it
python tests/audit.py TOOLS --lock   write requirements.lock anew from requirements.txt
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS, LOCK = ROOT / "requirements.txt", ROOT / "requirements.lock"
HEADER = """\
# The hashes of every file of the pinned packages but torch, which comes from the index that TORCH_INSTALL_ARGS names.
# To install these files and no others: pip install --no-deps --require-hashes -r requirements.lock
# Renew: make lock
"""


def pins(text: str) -> dict[str, str]:
    """Names and versions of a requirements file, names in lower case with hyphens.

    >>> pins("PyYAML==6.0 --hash=x\\n# a comment\\nast_serialize==0.13.1")
    {'pyyaml': '6.0', 'ast-serialize': '0.13.1'}
    """
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def hashes(text: str) -> dict[str, set[str]]:
    """The hashes of each pinned package of a lock file."""
    parts = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)
    return {name: set(re.findall(r"sha256:([0-9a-f]{64})", part)) for part in parts for name in pins(part)}


def resolved(tools: Path) -> str | None:
    """The lock file as the index gives it now, or None where there is no index."""
    chosen = "".join(line for line in PINS.read_text().splitlines(True) if not line.startswith("torch=="))
    call = [str(tools / "uv"), "pip", "compile", "-", "--no-deps", "--generate-hashes", "--universal", "--quiet"]
    call += ["--python-version", "3.11", "--no-header", "--no-annotate"]
    done = subprocess.run(call, input=chosen, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def changed_files(locked: str, now: str) -> list[str]:
    """Packages that lack a file of the lock; one more file, such as a wheel for a new Python, is no change."""
    before, after = hashes(locked), hashes(now)
    return sorted(name for name, kept in before.items() if not kept or not kept <= after.get(name, set()))


def known_faults(report: dict[str, Any]) -> tuple[list[str], int]:
    """A line for each known fault in pip-audit's report, and how many packages were audited."""
    audited = [package for package in report["dependencies"] if "vulns" in package]
    lines = [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'none'}"
        for package in audited
        for fault in package["vulns"]
    ]
    return lines, len(audited)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=Path)
    parser.add_argument("--lock", action="store_true")
    flags = parser.parse_args()
    now = resolved(flags.tools)
    if flags.lock:
        if now is None:
            print("lock: no package index is reachable here, requirements.lock stays as it is")
            return 1
        LOCK.write_text(HEADER + now)
        return 0
    faults = []
    if now is None:
        print("audit: no package index is reachable here, hashes were not compared")
    else:
        faults = [
            f"{name}: the index lacks files of requirements.lock" for name in changed_files(LOCK.read_text(), now)
        ]
        print(f"audit: the hashes of {len(hashes(LOCK.read_text()))} packages were compared with the index")
    call = [str(flags.tools / "pip-audit"), "--requirement", str(PINS), "--no-deps", "--disable-pip"]
    done = subprocess.run([*call, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        lines, audited = known_faults(json.loads(done.stdout))
    except ValueError:
        lines, audited = [], 0
    if audited:
        print(f"audit: {audited} packages were looked up, {len(lines)} known faults")
    else:
        print("audit: no list of known faults is reachable here, none was looked up")
    faults += lines
    print(*faults, sep="\n", end="\n" if faults else "")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
