"""The simulated page: a form a flow, with its fields and buttons laid out in the viewport.

Part of the simulation (see the package). Positions are centres and sizes in CSS px.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from schemas.base import Flow
from schemas.telemetry import Viewport


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Something to click: centre and size, CSS px."""

    name: str
    x: float
    y: float
    width: float
    height: float

    @property
    def at(self) -> tuple[float, float]:
        """Its centre, CSS px."""
        return self.x, self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Fields in tab order, a submit button, and whether the camera is used after it."""

    flow: Flow
    fields: tuple[Target, ...]
    submit: Target
    camera: bool
    width: float
    height: float


FIELDS: dict[Flow, tuple[str, ...]] = {
    "signup": ("name", "email", "birthday", "password"),
    "login": ("email", "password"),
    "recovery": ("email", "code"),
    "kyc_capture": ("name", "birthday", "phone"),
    "high_risk_action": ("amount", "code"),
}
"""Names of the fields of each flow's form."""


def page_of(flow: Flow, viewport: Viewport) -> Page:
    """Lay out the form of a flow as one centred column."""
    names: Sequence[str] = FIELDS[flow]
    width, height = viewport.width_px, viewport.height_px
    column = min(420.0, width - 32.0)
    row, field_height = min(84.0, (height - 80.0) / (len(names) + 2)), 44.0
    top = max(60.0, (height - row * (len(names) + 1)) / 2)
    fields = tuple(Target(name, width / 2, top + row * i, column, field_height) for i, name in enumerate(names))
    button = Target("submit", width / 2 - column / 2 + 70, top + row * len(names), 140.0, 40.0)
    return Page(flow, fields, button, camera=flow == "kyc_capture", width=width, height=height)
