"""How often an upstream provider's results are wrong, in the terms of its own standards, from results of known truth.

Presentation, injection and deepfake attacks and liveness, after ISO/IEC 30107-3: APCER, by species of attack, the share
of attacks that were taken for genuine; BPCER, the share of genuine captures that were taken for attacks; APNRR and
BPNRR, the shares without an answer, which count in neither. Faces, after ISO/IEC 19795-1: FMR and FNMR, the shares of
strangers who match and of owners who don't. A result is read as fusion reads it: its verdict, else its score beside its
own threshold (`features.fusion.verdict_of`); nothing of ours is laid on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.fusion import RESULTS, verdict_of
from models.dataset import DatasetError
from schemas.base import Name
from schemas.signals import Signal

GENUINE: Final = "genuine"
"""Truth of a capture that is what it seems; any other truth is a species of attack, or `stranger` for faces."""
FACES: Final = ("face_match_1to1", "face_match_1ton")
POINTS: Final = (0.1, 0.05, 0.01)
"""APCER (FMR) at which the other error is told, where results have scores: BPCER10, BPCER20 and BPCER100."""


class Known(msgspec.Struct, frozen=True):
    """One result, and what was known of the capture that it is about."""

    signal: Signal
    truth: Name


class Rate(msgspec.Struct, frozen=True):
    """`count` of `of`."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """NaN of none."""
        return self.count / self.of if self.of else math.nan

    def text(self) -> str:
        """`0.031 (0.012 to 0.078), 4 of 130`, or `none`."""
        if not self.of:
            return "none"
        low, high = interval95(self.count, self.of)
        return f"{self.share:.3f} ({low:.3f} to {high:.3f}), {self.count} of {self.of}"


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider's results of one kind were worth."""

    kind: str
    provider: str
    model_version: str | None
    accepted: dict[str, Rate]
    """APCER (for faces FMR) by species, of the attacks that got an answer."""
    refused: Rate
    """BPCER (for faces FNMR)."""
    unanswered: dict[str, Rate]
    """APNRR by species, and BPNRR under `genuine`: timeouts, refusals, results without a verdict."""
    reviewed: dict[str, Rate]
    """Left to a person, by truth: an error of neither kind."""
    points: dict[str, float]
    """BPCER (FNMR) where the species that fares best would have at most this APCER (FMR), by its name; from scores."""

    @property
    def worst(self) -> tuple[str, Rate] | None:
        """The species that is taken for genuine most often: the standard's figure, never an average over species."""
        answered = {name: rate for name, rate in self.accepted.items() if rate.of}
        return max(answered.items(), key=lambda each: each[1].share) if answered else None


def interval95(found: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of which `found` of `of` were seen; (0, 1) of none."""
    if of == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share, weight = found / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def read_known(path: Path) -> list[Known]:
    """Read results of known truth, one JSON object a line: `{"truth": "genuine", "signal": {...}}`.

    Raises DatasetError, with the line, for what is no such thing; OSError.
    """
    decode = msgspec.json.Decoder(Known).decode
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                found.append(decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"{path}, line {number}: {error}; a line holds a truth and a signal (capture.signal.v1)"
                raise DatasetError(msg) from None
    return found


def errors_of(known: Iterable[Known]) -> list[Errors]:
    """Errors by kind, provider and version, in that order; results of kinds that judge no capture are left out."""
    groups: dict[tuple[str, str, str], list[Known]] = {}
    for one in known:
        signal = one.signal
        if signal.kind in RESULTS:
            groups.setdefault((signal.kind, signal.provider, signal.model_version or ""), []).append(one)
    return [_errors(*key, groups[key]) for key in sorted(groups)]


def _errors(kind: str, provider: str, version: str, known: Sequence[Known]) -> Errors:
    truths = [GENUINE, *sorted({one.truth for one in known} - {GENUINE})]
    verdicts = {truth: [_verdict(one.signal) for one in known if one.truth == truth] for truth in truths}

    def rate(truth: str, verdict: str | None, among: Sequence[str | None]) -> Rate:
        return Rate(sum(each == verdict for each in verdicts[truth]), sum(each in among for each in verdicts[truth]))

    answers, all_ = ("pass", "fail", "review"), ("pass", "fail", "review", None)
    return Errors(
        kind=kind,
        provider=provider,
        model_version=version or None,
        accepted={truth: rate(truth, "pass", answers) for truth in truths[1:]},
        refused=rate(GENUINE, "fail", answers),
        unanswered={truth: rate(truth, None, all_) for truth in truths},
        reviewed={truth: rate(truth, "review", answers) for truth in truths},
        points=_points([one for one in known if one.signal.outcome == "scored"]),
    )


def _verdict(signal: Signal) -> str | None:
    # Results that were asked for comparison only decide nothing, and are what providers are compared by.
    return verdict_of(msgspec.structs.replace(signal, routing=None))


def _points(known: Sequence[Known]) -> dict[str, float]:
    """The other error at fixed ones, by a threshold laid on the provider's own scores; nothing without both sides."""
    genuine = _risks(known, GENUINE)
    species = [_risks(known, truth) for truth in {one.truth for one in known} - {GENUINE}]
    if not genuine.size or not species:
        return {}
    found = {}
    for point in POINTS:
        # An attack below the bar is taken for genuine: the highest bar that lets at most so many of each species pass.
        bar = min(float(risks[int(point * risks.size)]) for risks in species)
        found[f"{round(1 / point)}"] = float(np.mean(genuine >= bar))
    return found


def _risks(known: Sequence[Known], truth: str) -> NDArray[np.float64]:
    """Scores of one truth, high being risk, sorted."""
    return np.sort(
        [
            -one.signal.score if one.signal.direction == "high_is_genuine" else one.signal.score
            for one in known
            if one.truth == truth and one.signal.score is not None
        ]
    ).astype(np.float64)


def table(errors: Sequence[Errors]) -> list[str]:
    """Markdown: a line each, with what the standard calls each figure."""
    lines = [
        "| Kind | Provider | Taken for genuine: APCER, FMR (worst species) | Refused though genuine: BPCER, FNMR | No answer: APNRR, BPNRR |",  # noqa: E501
        "|---|---|---|---|---|",
    ]
    for one in errors:
        worst = one.worst
        attacks = (
            "none" if worst is None else f"{'FMR' if one.kind in FACES else 'APCER'} {worst[1].text()}: {worst[0]}"
        )
        silent = max((rate.share for truth, rate in one.unanswered.items() if truth != GENUINE), default=math.nan)
        genuine = one.unanswered[GENUINE].share
        cells = (
            one.kind.replace("_", " "),
            f"{one.provider} {one.model_version or ''}".strip(),
            attacks,
            f"{'FNMR' if one.kind in FACES else 'BPCER'} {one.refused.text()}",
            ", ".join("-" if math.isnan(share) else f"{share:.3f}" for share in (silent, genuine)),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines
