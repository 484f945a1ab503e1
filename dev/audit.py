"""Whether an advisory is known about a version in constraints.txt: pip-audit, by PyPI's list.

Where the list cannot be reached, one line says so and nothing fails: that is the network's state, not the project's.
"""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
EXPLAINED: dict[str, str] = {}  # advisory: why it does not concern us
SECONDS = 120


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "-r", str(CONSTRAINTS), "--no-deps", "--disable-pip", "-f", "json",
               "--progress-spinner", "off", "--timeout", "10"]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 (nothing in it is from outside)
            command, capture_output=True, text=True, timeout=SECONDS
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        packages = []
    looked_up = [package for package in packages if "vulns" in package]
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}, mended in {', '.join(advisory['fix_versions'])}"
        for package in looked_up
        for advisory in package["vulns"]
        if advisory["id"] not in EXPLAINED
    ]
    lines = sum("==" in line for line in CONSTRAINTS.read_text().splitlines())
    if looked_up:
        print(f"advisories: looked up for {len(looked_up)} of {lines} packages, {len(found)} found")
    else:
        print("advisories: PyPI's list cannot be reached from here, so nothing is known about them")
    print("".join(f"  {line}\n" for line in found), end="")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
