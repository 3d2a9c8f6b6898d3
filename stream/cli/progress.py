"""Progress on standard error for long commands: a bar where a person watches, nothing where a program does."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar (a counter without `total`) that the yielded function advances by one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()]
    if total is not None:
        columns.insert(2, BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def steps(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the name of the present step; plain lines where nobody watches a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: console.print(f"{what}: {step}", markup=False, highlight=False)
        return
    with console.status(what) as status:
        yield lambda step: status.update(f"{what}: {step}")


__all__ = ["bar", "steps"]
