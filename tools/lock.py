"""Prints requirements.lock: what this environment holds, as constraints for every Python the package supports.

The CUDA packages follow from torch and are left out; so are distributions that the ROS wheels make themselves. What
does not exist for the oldest supported Python is pinned for the newer ones only.
"""

import re
from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet

OLDEST = "3.10"
LEFT_OUT = re.compile(r"^(nvidia|cuda|triton|geo.perception|pip$|setuptools$|wheel$)", re.IGNORECASE)


def pins() -> list[str]:
    """One line a distribution, sorted."""
    lines = set()
    for distribution in distributions():
        name, installer = distribution.metadata["Name"], (distribution.read_text("INSTALLER") or "").strip()
        if LEFT_OUT.match(name) or installer != "pip":
            continue
        requires = distribution.metadata.get("Requires-Python")
        too_new = requires and not SpecifierSet(requires).contains(f"{OLDEST}.99")
        too_new = too_new or name == "torchvision"  # it goes with one torch, whose pin is for the newer ones
        lines.add(f"{name}=={distribution.version}" + (f' ; python_version > "{OLDEST}"' if too_new else ""))
    return sorted(lines, key=str.lower)


if __name__ == "__main__":
    print("\n".join(pins()))
