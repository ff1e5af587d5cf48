"""One row of the table of what was tried and what it gave."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tried:
    """`tried` says what was done how often, `found` is every fault in words."""

    what: str
    tried: str = ""
    found: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"| {self.what} | {self.tried} | {len(self.found)} |"

    def conclude(self) -> None:
        """Fail where something was found."""
        assert not self.found, f"{len(self.found)} faults in {self.tried}:\n" + "\n\n".join(self.found)
