"""What a feature family declares: its packed state slots and its features, each known by a fixed index."""

from typing import Literal

import msgspec

Basis = Literal["trained", "rule", "context"]
"""What a feature may do: enter a trained model, enter a rule or a signal, or only describe the circumstances."""


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of the vector. NaN always means "no data"; a value lies in [low, high].

    `bot`: input of the pointer model; `keys`: of the keystroke scorer; `anomaly`: of the online anomaly model.
    `clock`: depends on the recorder's clock or sampling, so it tells recorders apart as well as it tells bots.
    """

    name: str
    family: str
    unit: str
    low: float
    high: float
    description: str
    source: str
    basis: Basis = "trained"
    bot: bool = False
    keys: bool = False
    anomaly: bool = False
    clock: bool = False
    exemption: str | None = None


class Table:
    """The slots and features of one family, in order of declaration.

    `revision` is raised when a kernel's meaning changes while its slots and features keep their names: it is part of
    the state version, so that state of the old meaning is never read.
    """

    def __init__(self, family: str, *, revision: int = 1) -> None:
        self.family = family
        self.revision = revision
        self.slots: list[str] = []
        self.added: list[bool] = []
        self.features: list[Feature] = []

    def slot(self, name: str, width: int = 1, *, added: bool = False) -> int:
        """Reserve `width` neighbouring slots of the state row; return the first one's index in the family's part.

        Slots of this kind hold where a session stands; a merge takes them from the later part.
        """
        first = len(self.slots)
        self.slots.extend([name] if width == 1 else [f"{name}[{i}]" for i in range(width)])
        self.added.extend([added] * width)
        return first

    def sum(self, name: str, width: int = 1) -> int:
        """Reserve slots that hold counts or sums; a merge adds them."""
        return self.slot(name, width, added=True)

    def feature(
        self,
        name: str,
        unit: str,
        low: float,
        high: float,
        description: str,
        source: str,
        *,
        basis: Basis = "trained",
        bot: bool = False,
        keys: bool = False,
        anomaly: bool = False,
        clock: bool = False,
        exemption: str | None = None,
    ) -> int:
        """Declare a feature; return its index in the family's part of the vector."""
        self.features.append(
            Feature(
                name=f"{self.family}_{name}",
                family=self.family,
                unit=unit,
                low=low,
                high=high,
                description=description,
                source=source,
                basis=basis,
                bot=bot,
                keys=keys,
                anomaly=anomaly,
                clock=clock,
                exemption=exemption,
            )
        )
        return len(self.features) - 1

    @property
    def width(self) -> int:
        """Number of state slots."""
        return len(self.slots)

    @property
    def count(self) -> int:
        """Number of features."""
        return len(self.features)
