"""The demo from start to end: parts up, traffic on, the view alive, the drain, the summary, everything down again.

Exit codes: 0 done and nothing lost, 1 something was lost or a part died, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.live import Live

from stream.demo import open_page, parts
from stream.demo.children import Child, DemoError, stop_all
from stream.demo.feed import Feed
from stream.demo.probe import Probe, free_ports
from stream.demo.summary import show, summarise
from stream.demo.tally import Moment, Tally, quantiles, total
from stream.demo.view import Scene, View
from stream.simulation.traffic import Line

TRAFFIC_S: Final = 60.0
WHOLE_S: Final = 112.0
"""Longest demo with default length, from start to summary, s: a two minutes' promise with room to end."""
DRAIN_S: Final = 10.0
TRAFFIC_STOP_S: Final = 4.0
"""Longest time that the traffic may take to stop, s; it holds nothing."""
SHORTEST_S: Final = 20.0
"""Shortest traffic, s, where the start took long, as the first one on a slow machine may."""
REDRAW_S: Final = 0.25
PLAIN_EVERY_S: Final = 5.0


class Started(msgspec.Struct, kw_only=True):
    """The first line of `--json`: where everything is."""

    type: str = "demo.started"
    broker: str
    """As `bootstrap.servers` takes it."""
    redis: str | None
    """URL of the embedded store; null for one that was given."""
    worker_metrics: str
    learner_metrics: str
    page: str | None = None
    """Address of the live page."""


class Demo:
    """One run. `show_to` is the console of the view and the summary; results as JSON go to `out`."""

    def __init__(self, choice: parts.Choice, show_to: Console) -> None:
        self.choice = choice
        self.console = show_to
        self.tally = Tally(choice.run)
        self.begin = time.monotonic()
        self.phase = "starting"
        self.traffic_begin: float | None = None
        self.traffic_end: float | None = None
        self.seconds: float | None = None
        self.probe: Probe | None = None
        self.feed: Feed | None = None
        self.found: parts.Endpoints | None = None
        self.page: open_page.OpenPage | None = None
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._interrupted = False
        self._last_moment: Moment | None = None
        self._json = msgspec.json.Encoder()

    def run(self) -> int:
        """Run it all; returns the exit code. Raises DemoError when a part cannot start or dies."""
        terminate_before = signal.signal(signal.SIGTERM, _terminated)
        failed = False
        try:
            logs = Path(tempfile.mkdtemp(prefix="tellwire-demo-"))
        except OSError as error:
            msg = f"no temporary folder can be made ({error.strerror}): set TMPDIR to one that can be written"
            raise DemoError(msg) from None
        try:
            with contextlib.ExitStack() as stack, contextlib.ExitStack() as running:
                # Once it is over, all ends by itself soon, and a second Ctrl-C would only leave processes behind.
                try:
                    self._start(stack, running, logs)
                except KeyboardInterrupt:
                    self._interrupted = True
                finally:
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
        except DemoError:
            failed = True
            raise
        finally:
            # Once asked to end, it stays deaf to the end: what comes after is quick.
            if signal.getsignal(signal.SIGTERM) is _terminated:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.signal(signal.SIGTERM, terminate_before)
            if not failed or not any(logs.iterdir()):
                shutil.rmtree(logs, ignore_errors=True)
        if self.tally.traffic.sent or not self._interrupted:
            self._summary()
        if self._interrupted:
            return 130
        return 0 if self.tally.lost() == 0 and self.tally.traffic.failed == 0 else 1

    def scene(self) -> Scene:
        """What runs now, for the view."""
        now = time.monotonic()
        begin, found = self.traffic_begin, self.found
        return Scene(
            source=self._source(),
            simulation=self.choice.data is None,
            page=self.page.url if self.page else None,
            broker=found.broker_words if found else "",
            store=found.store_words if found else "",
            embedded=found.embedded_broker if found else True,
            phase=self.phase,
            now_s=self._now_s(),
            traffic_s=0.0 if begin is None else (self.traffic_end or now) - begin,
            seconds=self.seconds,
            acked=self.probe.acked if self.probe else None,
            learnt=self.probe.learnt if self.probe else 0,
            snapshots=self.feed.snapshots if self.feed else 0,
        )

    def _start(self, stack: contextlib.ExitStack, running: contextlib.ExitStack, logs: Path) -> None:
        """Bring everything up, run the traffic, and take the children down before broker and store (`stack`)."""
        said = Console(stderr=True)
        if not said.is_terminal:
            said.print("starting broker, store, worker and learner")
        if self.choice.broker is not None:
            said.print(
                f"the traffic goes to {self.choice.broker}, where other workers score it, too: not for a broker in use",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        with said.status("starting broker and store", spinner="dots") as status:
            self.found = parts.endpoints(self.choice, stack)
            self.feed = Feed(self.found.properties, self.tally, self._now_s, embedded=self.found.embedded_broker)
            running.callback(self.feed.close)
            env = parts.environment(self.found, parts.surroundings())
            ports = free_ports(2)
            children = [
                parts.start(role, env, port, logs) for role, port in zip(("worker", "learner"), ports, strict=True)
            ]
            running.callback(stop_all, children)
            self.page = self._open_page(said, env, logs)
            if self.page is not None:
                running.callback(self.page.stop)
                children.append(self.page.child)
                ports.append(self.page.metrics_port)
            for child, port in zip(children, ports, strict=True):
                parts.await_ready(child, port, lambda s, c=child: status.update(_starting(c.name, s)))  # type: ignore[misc]
        if self.page is not None:
            self.page.start()
        self._tell_addresses(said, *ports[:2])
        self.probe = Probe(*ports[:2])
        self.probe.start()
        running.callback(self.probe.stop)
        self.seconds = self._length()
        traffic = parts.traffic(self.choice, self.found, self.seconds, logs)
        running.callback(stop_all, [traffic], TRAFFIC_STOP_S)
        threading.Thread(target=self._listen, args=(traffic,), daemon=True).start()
        self.traffic_begin = time.monotonic()
        self.phase = "running"
        self._watch(traffic, children)

    def _open_page(self, said: Console, env: Mapping[str, str], logs: Path) -> open_page.OpenPage | None:
        """Start the page's gateway, where a page is wanted and can be served. Raises DemoError."""
        if not self.choice.page:
            return None
        if (missing := open_page.missing()) is not None:
            line = f"no page: it needs {missing}, which is not installed; install tellwire\\[gateway] to see it"
            said.print(line, highlight=False, soft_wrap=True)
            return None
        page = open_page.OpenPage(self.choice.port, env, logs)
        assert self.feed is not None
        self.feed.also = lambda event, published_ms: page.take(event, published_ms, self.tally)
        return page

    def _tell_addresses(self, said: Console, worker_port: int, learner_port: int) -> None:
        """Say where everything is, for who wants to talk to it while it runs."""
        assert self.found is not None
        worker, learner = (f"http://127.0.0.1:{port}/metrics" for port in (worker_port, learner_port))
        store = self.found.store_address
        if self.choice.as_json:
            page = None if self.page is None else self.page.url
            started = Started(
                broker=self.found.bootstrap, redis=store, worker_metrics=worker, learner_metrics=learner, page=page
            )
            self._print_json(started)
            return
        words = [self.found.broker_words, f"{self.found.store_words} {store}" if store else self.found.store_words]
        line = ", ".join([*words, f"worker {worker}", f"learner {learner}"])
        said.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.page is not None:
            said.print(f"open {self.page.url} in a browser", markup=False, highlight=False, soft_wrap=True)

    def _watch(self, traffic: Child, children: list[Child]) -> None:
        """Show what comes until the traffic has ended and everything sent has come out."""
        assert self.feed is not None
        drained_at: float | None = None
        with self._display() as draw, self._stopping_first(traffic):
            while True:
                came = self.feed.wait(0.05)
                # The truth about a session was told before its first record was sent: so hear it first.
                self._hear()
                self.feed.count(came)
                if self.page is not None:
                    self.page.tell(self.tally, self.scene())
                draw()
                dead = next((each for each in children if each.exit_code is not None), None)
                if dead is not None:
                    raise DemoError(dead.complaint())
                if traffic.exit_code is None:
                    continue
                if self.traffic_end is None:
                    self._ended(traffic)
                    drained_at = time.monotonic() + DRAIN_S
                if self._lines.empty() and self.tally.lost() <= 0:
                    break
                if drained_at is not None and time.monotonic() > drained_at:
                    break
            self.phase = "done"

    @contextlib.contextmanager
    def _stopping_first(self, traffic: Child) -> Iterator[None]:
        """Let the first Ctrl-C stop the traffic alone, so that what was sent comes out; the second ends it all."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self._interrupted:
                signal.default_int_handler(number, frame)
            self._interrupted = True
            traffic.ask_to_stop()

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ended(self, traffic: Child) -> None:
        self.traffic_end = time.monotonic()
        self.phase = "draining"
        # The last report may still be in the pipe; the reader ends when it has read it.
        time.sleep(0.1)
        self._hear()
        if not self.tally.traffic.done:
            raise DemoError(traffic.complaint())

    def _listen(self, traffic: Child) -> None:
        decoder = msgspec.json.Decoder(Line)
        for line in traffic.lines():
            self._lines.put(decoder.decode(line))

    def _hear(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._lines.get_nowait()
                if line.truth is not None:
                    self.tally.learn(line.truth)
                if line.counts is not None:
                    self.tally.hear(line.counts, self._now_s())

    @contextlib.contextmanager
    def _display(self) -> Iterator[Any]:
        """Yield a function that shows the state when it is time to: the live view, a plain line, or JSON."""
        last = 0.0
        live: Live | None = None

        def draw() -> None:
            nonlocal last
            now = time.monotonic()
            every = REDRAW_S if live is not None else 0.0 if self.choice.as_json else PLAIN_EVERY_S
            if now - last < every:
                return
            last = now
            if live is not None:
                live.update(View(self.tally, self.scene()), refresh=True)
            elif self.choice.as_json:
                self._print_moments()
            else:
                self.console.print(plain_line(self.tally, self.scene()), highlight=False, soft_wrap=True)

        if self.console.is_terminal and not self.choice.as_json:
            with Live(console=self.console, screen=True, auto_refresh=False) as live:
                yield draw
        else:
            yield draw

    def _print_moments(self) -> None:
        fresh = []
        for moment in self.tally.moments:
            if moment is self._last_moment:
                break
            fresh.append(moment)
        if fresh:
            self._last_moment = fresh[0]
        for moment in reversed(fresh):
            self._print_json(
                {"type": "demo.event", "actor": self.tally.actor(moment.session_id), **msgspec.to_builtins(moment)}
            )

    def _summary(self) -> None:
        if self.choice.as_json:
            self._print_json(summarise(self.tally, self.scene(), self.choice.seed))
        else:
            show(self.console, self.tally, self.scene(), self.choice.seed)

    def _print_json(self, value: object) -> None:
        sys.stdout.buffer.write(self._json.encode(value) + b"\n")
        sys.stdout.buffer.flush()

    def _length(self) -> float | None:
        """Length of the traffic: none with `keep`, as asked, or the default within what is left of the whole.

        Somebody at a terminal has a page to look at for as long as they like.
        """
        if self.choice.keep:
            return None
        if self.choice.seconds is not None:
            return self.choice.seconds
        if self.page is not None and self.console.is_terminal and not self.choice.as_json:
            return None
        return max(SHORTEST_S, min(TRAFFIC_S, WHOLE_S - DRAIN_S - (time.monotonic() - self.begin)))

    def _now_s(self) -> float:
        """Since the traffic began, s; 0 before."""
        return time.monotonic() - self.traffic_begin if self.traffic_begin is not None else 0.0

    def _source(self) -> str:
        return "simulated people and bots" if self.choice.data is None else "recorded sessions, played again"


def plain_line(tally: Tally, scene: Scene) -> str:
    """One line for where there is no terminal."""
    people, bots = total(tally, "person"), total(tally, "bot")
    scored = quantiles(tally.scored_ms)
    latency = f"received to scored p50 {scored.p50_ms:.1f} p99 {scored.p99_ms:.1f} ms" if scored else "no latency yet"
    where = " (embedded broker)" if scene.embedded else ""
    return (
        f"{scene.phase} {scene.traffic_s:5.1f} s  in {tally.in_rate.per_s(scene.now_s):.0f}/s {tally.traffic.acked}"
        f"  out {tally.out_rate.per_s(scene.now_s):.0f}/s {tally.events}  dead letters {tally.dead_letters.total()}"
        f"  {latency}{where}  people {people.sessions}, {people.found} stepped up"
        f"  bots {bots.sessions}, {bots.found} found"
    )


def _starting(name: str, waited_s: float) -> str:
    hint = " (the first start on a machine compiles its kernels)" if waited_s > 4 else ""
    return f"starting the {name}{hint} {waited_s:.0f} s"


def _terminated(*_: object) -> None:
    # Once is enough: a second one would only leave processes behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(143)
