"""What the exit status of a command or process says, one number each."""

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
STUCK: Final = 70
INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    0: "Done; a worker, learner or gateway stopped as it was asked to.",
    FAILED: "Failed, or a check found something: `doctor`, `gate`, `topics diff`, `policy diff`, `train --check` do.",
    USAGE: "Wrong usage, settings or policy file; nothing was begun.",
    STUCK: "A process was stuck, or did not stop in time, and ended itself: nothing lost, start it again.",
    INTERRUPTED: "Interrupted (Ctrl-C).",
}
"""What every command's exit code means."""
