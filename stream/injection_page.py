"""The reference page of the channel `injection`, rendered from the tables that it is scored by."""

from collections.abc import Iterable
from typing import Final

from features.fusion import CONFLICTS, CONTESTED, PASSES_BLIND_TO_FACTS, RESULTS, SAME_CAPTURE_MS
from features.signal_table import SIGNALS
from features.signals_upstream import STRONG_FACTS
from models.calibration_table import INJECTION_PRIOR
from models.device_risk import DEFAULT_WEIGHTS
from models.evaluate_results import errors_of, table
from stream.simulation.injections import ATTACKS, FIGURES, HARMLESS, REFUSED, UNSEEN, known_results

_LOWER: Final = {"strong": "medium", "medium": "weak", "weak": "not counted"}
_FLOOR: Final = INJECTION_PRIOR.floor

_INTRODUCTION: Final = f"""\
# Injection: does the picture come from a camera?

<!-- Generated from `features/fusion.py` and others by `make contracts`. Edit the declarations, not this page. -->

The channel `injection` fuses what the capture step shows (`capture` blocks) with the results of other models about it
(`capture.signal.v1`): liveness, PAD, deepfake, injection, document and face. It has a score from the first of either
on; before, and in sessions without a camera step, it is `not_expected`, and all is as if there were no such channel.

- **Score.** Each signal below has a weight by its severity ({DEFAULT_WEIGHTS.severity.strong:g} strong,
  {DEFAULT_WEIGHTS.severity.medium:g} medium, {DEFAULT_WEIGHTS.severity.weak:g} weak) times the confidence of its teller
  ({DEFAULT_WEIGHTS.confidence.high:g} high, {DEFAULT_WEIGHTS.confidence.medium:g} medium,
  {DEFAULT_WEIGHTS.confidence.low:g} low). Raw risk is 1 less the product of (1 - weight), where weak ones together stay
  under {DEFAULT_WEIGHTS.caps.weak:g} and weak and medium ones under {DEFAULT_WEIGHTS.caps.medium:g}: no number of hints
  adds up to a proof. A worse fact never lowers it; the order of arrival changes nothing.
- **Calibration** is a stated prior (`state: prior`, 0 people): it never claims to fire for less than {_FLOOR:.0%} of
  people, so the score ends at {1 - _FLOOR:g}. No camera recordings of people or attacks exist here.
- **Overall.** A policy may give the channel a weight of its own in a flow (`weights.injection`). Where it doesn't, it
  shares the weight of `device`: both are read off what the client says of itself, and their prior is stated for the
  larger of the two. It cannot block by itself: a score blocks beside a fact only, and in `kyc_capture` never.
- **What is missing** means nothing. A result that never came, timed out, was refused, failed on quality or was asked
  for comparison only (`routing.shadow`) neither raises nor lowers the score, and `CAMERA_RESULTS_PASSED` tells a
  reviewer which kinds there was no result of. A missing block is told by `missing_signals` and `coverage`.
""".rstrip()

_RESULTS_TEXT: Final = f"""\
## What a result says

In its provider's own terms: its verdict, else its score beside its own threshold. Nothing of ours is laid on a foreign
score; how often a provider is wrong is its own figure (APCER and BPCER of ISO/IEC 30107-3 for PAD and liveness, FMR and
FNMR for faces). Results are about the same capture if their `effective_at` (when the evidence was captured) is at most
{SAME_CAPTURE_MS // 1000} s apart. There a pass and a failure of one kind contest each other: the failure counts one
severity lower, `results_disagree` fires, and a person reviews it. `review` fires `result_to_review`, which is weak. A
quality result (`capture_quality`) says nothing of where a picture came from.
""".rstrip()

_CONFLICTS_TEXT: Final = """\
## Which of two results wins

The one that fails: what passed takes nothing off it. Each such pair fires `cv_conflict`, with the severity below, and
the rule `camera_results_contradict` of the default policy has a person review it (`step_up` with `manual_review`).
""".rstrip()

_FIGURES_TEXT: Final = """\
## Simulated attacks

Found: at most 1 % of genuine *simulated* people score as high or higher. There are 1 000 of them; each of {innocent}
innocent causes shows in {least:.1%} to {most:.0%} of them, and a kind of result refuses up to {refused:.0%} at first.
These shares are judgements, so the figures say whether the parts fit together and what hides among people's own
oddities; they say nothing of the world.
""".rstrip()


_ERRORS_TEXT: Final = """\
## Results in their own terms

`tellwire evaluate --results FILE` says how often a provider's results are wrong, by kind, provider and version. A line
of FILE is one result and what was known of its capture: `{{"truth": "genuine", "signal": {{...}}}}`, where truth is
`genuine` or names a species of attack (`stranger` for faces) and signal is a `capture.signal.v1`. APCER is told of the
species that is taken for genuine most often (ISO/IEC 30107-3: never an average over species), a result without a
verdict is no error but no answer, and one left to a person is an error of neither kind. Where results have scores,
`--json` tells BPCER10, BPCER20 and BPCER100 as well. Intervals are Wilson's, 95 %.

Below are the *simulated* results of the steps above ({genuine} genuine people, {attacks} of each attack): what the
simulation was told, counted back. Nothing here is any provider's.
""".rstrip()


def injection_page() -> str:
    """The page as Markdown."""
    counted = [SIGNALS[name] for name in DEFAULT_WEIGHTS.injection_signals]
    support = [SIGNALS[name] for name in DEFAULT_WEIGHTS.injection_support]
    lines = [
        *_INTRODUCTION.splitlines(),
        "",
        "## Signals that count",
        "",
        *_rows(
            ("signal", "severity", "cue", "innocent cause"),
            ((f"`{one.name}`", one.severity, one.cue, one.exemption) for one in counted),
        ),
        "",
        "Whoever controls the app or the browser can feed it a picture, and need not: these count in `device`, and",
        "here one severity lower.",
        "",
        *_rows(
            ("signal", "in `device`", "here", "cue"),
            ((f"`{one.name}`", one.severity, _LOWER[one.severity], one.cue) for one in support),
        ),
        "",
        *_RESULTS_TEXT.splitlines(),
        "",
        *_rows(
            (
                "kind",
                "a failure fires",
                "severity",
                "contested",
                "a later capture that passes takes it back",
                "because",
            ),
            (
                (
                    kind.replace("_", " "),
                    f"`{rule.signal}`",
                    SIGNALS[rule.signal].severity,
                    CONTESTED[SIGNALS[rule.signal].severity],
                    "yes" if rule.later_stands else "no",
                    rule.why,
                )
                for kind, rule in RESULTS.items()
            ),
        ),
        "",
        *_CONFLICTS_TEXT.splitlines(),
        "",
        *_rows(
            ("passes", "fails, and wins", "severity", "because"),
            (
                *((one.passed, one.failed, one.severity, one.why) for one in CONFLICTS),
                (
                    " or ".join(PASSES_BLIND_TO_FACTS),
                    ", ".join(f"`{name}`" for name in STRONG_FACTS),
                    "strong",
                    "it sees the picture, and not where that came from",
                ),
            ),
        ),
        "",
        *_FIGURES_TEXT.format(
            innocent=len(HARMLESS),
            least=min(HARMLESS.values()),
            most=max(HARMLESS.values()),
            refused=max(share for share, _ in REFUSED.values()),
        ).splitlines(),
        "",
        *_rows(
            ("simulated attack", "what it does", "found", "of"),
            (
                (f"`{name}`", (ATTACKS[name].__doc__ or "").rstrip("."), str(found), str(of))
                for name, (found, of) in FIGURES.items()
            ),
        ),
        "",
        f"Not found, and not to be: {', '.join(f'`{name}`' for name in sorted(UNSEEN))}. A clip that comes through a",
        "real device with a camera's name, clock and shape shows nothing to telemetry; only a model of the picture can",
        "find it.",
        "",
        *_ERRORS_TEXT.format(genuine=1_000, attacks=100).splitlines(),
        "",
        *table(errors_of(known_results(1_000, 100))),
    ]
    return "\n".join(lines) + "\n"


def _rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [header, ("---",) * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
