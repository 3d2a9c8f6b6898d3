"""The evaluation as text: `docs/reference/detection.md`, and the model cards, both generated from one run's figures."""
# ruff: noqa: E501 - what is written is Markdown: a paragraph or a table row a line

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.evaluate import Result, Summary
from models.evaluate_cards import CARDS
from models.evaluate_fairness import fairness_text
from models.evaluate_instrument import instrument_text
from models.evaluate_live import DRAWS, live_text
from models.evaluate_plots import save_plots
from models.evaluate_pointer import CUT_NAMES, FamilyResult, SourceResult
from models.evaluate_report_targets import targets_text
from models.evaluate_streams import streams_text
from models.evaluate_takeover import takeovers_text

REPORT = "detection.md"

PUBLISHED = """\
| Work | Figure | On what | Comparable? |
|---|---|---|---|
| BeCAPTCHA-Mouse, [arXiv 2005.00890](https://arxiv.org/abs/2005.00890) (abstract read) | 93 % accuracy on average from one trajectory | its own synthetic trajectories (function-based and GAN) and 58 users | no: other data, families known in training |
| BeCAPTCHA-Type, [arXiv 2207.13394](https://arxiv.org/abs/2207.13394) (abstract read) | "high accuracy" with large labelled data, "an important challenge" with few; no number in the abstract | synthetic typing against people of the 136 M keystrokes study | no: supervised, other bots |
| DELBOT-Mouse, [README](https://github.com/chrisgdt/DELBOT-Mouse) at 010be04 (read) | none stated | the people and bots that are called delbot here | not found |
| SapiMouse, Balabit | not found: both were published for telling persons apart, not bots from people | | |
| Slider captcha contest 2017 | not found | | |
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def _at(results: Sequence[FamilyResult], family: str, cut: str) -> FamilyResult:
    return next(r for r in results if r.family == family and r.cut == cut)


def means(results: Sequence[FamilyResult], cut: str) -> str:
    """Mean and worst AUC over families at a cut."""
    values = [r.auc_all.value for r in results if r.cut == cut and not np.isnan(r.auc_all.value)]
    return f"{np.mean(values):.3f} / {np.min(values):.3f}" if values else "n=0"


def _families(summary: Summary) -> str:
    rows = []
    for family in dict.fromkeys(r.family for r in summary.families):
        five, end = _at(summary.families, family, "5"), _at(summary.families, family, "end")
        plain = _at(summary.families_baseline, family, "end")
        rows.append(
            [
                f"`{family}`", str(five.sessions), five.auc_all.text(), five.auc_same.text(), end.auc_all.text(),
                end.found_at_1pct.text(2), plain.auc_all.text(), plain.found_at_1pct.text(2),
            ]
        )  # fmt: skip
    head = (
        "family left out", "sessions", "AUC 5 s", "AUC 5 s, people of its instrument", "AUC end", "found at 1 %, end",
        "baseline AUC end", "baseline found at 1 %",
    )  # fmt: skip
    return table(head, rows)


def _over_time(summary: Summary) -> str:
    head = ("model", *(f"{c} s" if c != "end" else c for c in CUT_NAMES))
    named = (
        ("this model", summary.families),
        ("without generated counterparts (ablation)", summary.families_ablation),
        ("plain baseline", summary.families_baseline),
    )
    return table(head, [[name, *(means(results, cut) for cut in CUT_NAMES)] for name, results in named])


def _number(value: float) -> str:
    return "n=0" if np.isnan(value) else f"{value:.2f}"


def _sources(results: Sequence[SourceResult], plain: Sequence[SourceResult]) -> str:
    rows = []
    for one in results:
        if one.cut not in {"2", "5", "end"}:
            continue
        other = next(p for p in plain if p.source == one.source and p.cut == one.cut)
        bots = ", ".join(f"{family.removeprefix('delbot_')} {_number(area.value)}" for family, area in one.bots.items())
        flagged = [one.flagged[bar].text() if bar in one.flagged else "-" for bar in ("0.95", "0.98")]
        rows.append(
            [f"`{one.source}`", one.cut, f"{one.people} ({one.windows})", str(one.calibrated_on), *flagged, bots or "none recorded",
             other.flagged["0.95"].text() if "0.95" in other.flagged else "-"]
        )  # fmt: skip
    head = (
        "source left out", "after s", "people (windows)", "people it is ranked among", "its people at or above 0.95", "at or above 0.98",
        "AUC of its bots", "baseline: people at or above 0.95",
    )  # fmt: skip
    return table(head, rows)


def _keys(summary: Summary) -> str:
    rows = []
    for kind in dict.fromkeys(k.bots for k in summary.keys):
        row = [kind]
        for keys in (10, 20, 40, 80):
            mine = [k for k in summary.keys if k.bots == kind and k.keys == keys and not np.isnan(k.auc.value)]
            if not mine:
                row.append("n=0")
                continue
            worst = min(mine, key=lambda k: k.auc.value)
            row.append(f"{worst.auc.text()} {worst.source}")
        seeds = [
            k.worst_seed_auc for k in summary.keys if k.bots == kind and k.keys == 40 and not np.isnan(k.worst_seed_auc)
        ]
        found = [k.found_at_1pct.value for k in summary.keys if k.bots == kind and k.keys == 40]
        row += [f"{min(seeds):.3f}" if seeds else "-", f"{min(found):.2f}" if found else "n=0"]
        rows.append(row)
    head = (
        "bots",
        "10 keys: AUC, worst source",
        "20 keys",
        "40 keys",
        "80 keys",
        "worst seed at 40",
        "found at 1 %, 40 keys, worst source",
    )
    return table(head, rows)


def _key_people(summary: Summary) -> str:
    rows = [
        [f"`{p.source}`", str(p.keys), str(p.sessions), p.flagged["0.95"].text(), p.flagged["0.98"].text()]
        for p in summary.key_people
    ]
    return table(("source", "keys", "sessions", "people at or above 0.95", "at or above 0.98"), rows)


def _end_to_end(summary: Summary) -> str:
    rows = [
        [f"`{e.source}`", f"`{e.family}`" if e.family else "people", str(e.sessions), e.scored.text(2), e.at_095.text(), e.at_098.text(),
         e.stepped_up.text(), ", ".join(f"{kind} {share:.2f}" for kind, share in e.kinds.items())]
        for e in summary.end_to_end
    ]  # fmt: skip
    head = (
        "source",
        "who",
        "sessions",
        "scored",
        "bot, any time, at or above 0.95",
        "at or above 0.98",
        "stepped up or blocked",
        "kind of sender named",
    )
    return table(head, rows)


def markdown(summary: Summary, *, plots: bool = True) -> str:
    """The report."""

    def image(name: str, text: str) -> str:
        return f"\n![{text}](img/detection-{name}.png)\n" if plots else ""

    people = ", ".join(f"{name} {count}" for name, count in summary.people.items())
    windows = ", ".join(f"{name} {count}" for name, count in summary.windows.items())
    warning = "\n**A quick run on a part of the data: these figures are not for use.**\n" if summary.quick else ""
    return f"""# Detection: what the scores can and cannot do

Generated by `tellwire evaluate --out docs`; do not edit. Feature registry `{summary.features_hash[:12]}`.
{warning}
People: {people}. Recorded windows (at most 30 s): {windows}. The pointer model reads {summary.columns} features.
Intervals are 95 %, by resampling people (sessions where no person is known, and for bots). Sources of people weigh the same.

**Read first.** Finding a bot family that was in training is easy for every model here, the plain baseline included, and says
nothing. So each figure below is on a family, a source or people that the model has never seen. A generated family exists
with one instrument, so a model can find it by its instrument: compare the columns "AUC" and "people of its instrument".
Counterparts that training makes from people's own recordings are in no figure.

## What is asked of the scores
Families with at least 100 sessions count; the interval of a mean or a worst is over people, each drawn for all families alike. A bot
without a score (no stroke seen yet) is in no AUC, and is not found. "Family and its source": nothing of the source that recorded it is in training, which is
what a new deployment sees; the people are that source's. A source that ranks among fewer than 49 people can flag nobody: it is not
counted. Sessions are whole ones here, windows elsewhere; bots of left-out sources are calibrated like the people there.

{targets_text(summary.targets, summary.slices)}
## A bot family left out
The model has seen neither the family nor the people that it is judged against. "Found at 1 %": share of sessions above the
threshold that costs 1 % of the people, on the raw output.

{_families(summary)}
Mean / worst AUC over families, by observed time:

{_over_time(summary)}{image("roc", "ROC of each left-out family")}{image("det", "DET of each left-out family")}{image("time", "AUC by observed time")}
## A source left out
Its people, its bots and what was generated from them are in no training; scores are calibrated among the people of the other
sources alone, before anything is known of it, each of them scored by a model that never saw their source (as the shipped prior
is made; the baseline's by folds of persons, as is usual). With n people no score can exceed 1 - 1/(n + 1), so few people flag nobody.

{_sources(summary.sources, summary.sources_baseline)}
A source that is in no training at all, against the model trained on everything that ships (bots of an unknown kind; half of
them differ from the people by their clock alone):

{_sources(summary.unseen, summary.unseen_baseline)}{image("sources", "People of a left-out source flagged")}
The instrument gap is the weakest point: a prior of {sum(summary.people.values())} people does not carry over to a recorder that draws other movements
(one stroke of a slider, an ellipse). Until live people of a source are learnt, treat scores of a new source with care.

## Calibrated on live people
A source plays a new deployment: nothing of it is in training, its sessions stream in and are ranked as the learner ranks live ones
([how](../how-to/calibrate-on-live-people.md)), and others of its people and bots are judged. Half of the people, and of the bots, are for
the one and half for the other, drawn {DRAWS} times; intervals are the 2.5 % and 97.5 % quantiles over these draws. Every session counts as a
person of its own, as where no account is known. "Known genuine": the share of sessions that somebody vouches for; "bots among the
rest": those that no independent channel flags. A figure is counted above where there are nearly as many sessions as it asks for.

{live_text(summary.live)}
Without anybody known to be genuine nothing tells a heavy tail of people from bots among the sessions: then bots hide themselves, and
fewer of them are found; not more people are flagged. `delbot` has four people with a mouse: two are ranked among the two others.

## What tells the instrument
People of two sources differ by recorder, screen, pointer settings and task, not by being a bot: 0.5 tells them apart not at all, 1
always (after 5 s; each feature by itself, whichever way round). The inputs that say most of it and least of it; an input that tells
sources apart better than it tells bots apart can find a family by its instrument.

{instrument_text(summary.leaks, summary.apart)}
## Typing
One-class scorer from published ranges; nothing trained. People: hofstra, aalto, mobikey and cmu, none of which ship. Constant
delays: the recorded rules of Selenium, Puppeteer and pyautogui. **Random delays are drawn by this evaluation** (uniform, normal,
lognormal, exponential, jittered; {max((k.sessions for k in summary.keys if k.bots.startswith("random")), default=0)} sessions in several seeds) with key classes of the people; they are no recordings.

{_keys(summary)}
People flagged by the stated prior of typing (no people may ship):

{_key_people(summary)}{image("keys", "AUC by keys seen")}
## People whose input looks otherwise
The same people as recorded and changed, one change at a time: no recording is of somebody who lives with a tremor, mouse keys or a
dwell tool, so **recorded people with assistive tools: n=0**; the changes are what is known of the tools. Those who point are judged
by an engine that never saw their source and is calibrated among other people; those who type by what ships. Asked: a rise of at most
one point, never past step-up. "Worst source": where the rise is largest.

The pointer model judges neither a pointer that keys lead (steps along axes and diagonals alone, straight on) nor samples 75 ms apart
and more, between which a movement's shape was not seen; both have no score, as none at all has (`outside` in the manifest). People so
recorded still rank others: without them the prior asked too little, and 29 % of `delbot`'s people were at or above 0.98. Tried beside
that with short fits (80 rounds, one or two seeds), and not shipped: copies of people and bots with these changes in training (all but
mouse keys; dwell clicks alone; any speed between half and double, and recorders down to 10 Hz). None lowered what is left of the
rises on every source, none found left-out families better, and any speed had more of `delbot`'s people stepped up. With every session
judged, as before, the AUC of a left-out family after 5 s was 0.927 / 0.796 and at the end 0.939 / 0.819: people of slow recorders, whom
a model knows by their recorder, counted in it, and slow bots (`pynput`); mouse keys had 54 points more of `balabit`'s people stepped up,
half speed 42.

{fairness_text(summary.changes)}
## Anomaly: streams, and takeovers inside a session
Labelled NAB streams (the first 15 % set the limits and are not judged): River's half-space trees as they are, and the arrays that
workers serve of the same trees. "Found": share of labelled windows with a point above the score that costs 1 % of the other points.

{streams_text(summary.streams)}
Takeovers are spliced from recordings of one source: 60 s of a person, then a minute of another person, or of a bot that was generated
with the same instrument; controls go on as the same person in another session. Scores are by models without the source; the statistic
is the rise from the seam on, 1 % false alarms are of the controls.

{takeovers_text(summary.takeovers)}
## The shipped engine, end to end
Sessions of sources that are in no training, each scored alone by what ships, default policy, flow `signup`, at its end. The
sources that ship are not shown here: the shipped model has seen them. "Kind" is what `automation` says at the end; agent, replayed and
assistive rest on facts that no recording here has: n=0.

{_end_to_end(summary)}
## Beside published figures
{PUBLISHED}
## What could not be tested
- **Touch, scroll, motion, form, focus**: n = 0 recorded bots (touch: one person). They have no trained weight; their rules are named.
- **Replays and morphs of recorded people**: no such bots are in the data, so this evaluation makes them: replays in the event columns,
  morphs as shapes alone. The figures are of exact search among all stored strokes; the channel `replay` looks them up by keyed hashes
  ([copies of movements](../explanation/replayed-movements.md)), and kinematics are not expected to find them. A stroke that is cropped itself is not found; how soon a morphing family is depends on
  how many recordings it morphs (100 and 400 here).
- **Persons**: balabit has 6, delbot 6 (mouse 4, touchpad 1, touch 1); intervals over so few people are wide and still too narrow.
- **Device, injection**: no recorded people; their scores stay a stated prior.
"""


def write_report(result: Result, docs: Path) -> None:
    """Write reference/detection.md and its plots below the folder `docs`."""
    reference = docs / "reference"
    reference.mkdir(parents=True, exist_ok=True)
    save_plots(result, reference / "img")
    (reference / REPORT).write_text(markdown(result.summary), encoding="utf-8")


def write_cards(result: Result, folder: Path) -> None:
    """Write a card for each model that ships."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, card in CARDS.items():
        (folder / f"{name}.md").write_text(card(result.summary), encoding="utf-8")
