"""The process in which new models and a new policy are tried: limits itself, builds, scores, says how it went.

Reads one `Candidate` from standard input, never a file; ends with PASSED, or with REFUSED or WRONG_POLICY and one
line on standard output. It may as well crash, hang or run out of memory: that is what it is for.
"""

import os
import resource
import signal
import sys
import time
from typing import Final

PASSED: Final = 0
REFUSED: Final = 10
OUT_OF_MEMORY: Final = 11
WRONG_POLICY: Final = 12
MAX_LINE_BYTES: Final = 1_000


def limit(seconds: float, memory_mib: int, niceness: int) -> None:
    """Bound this process: `seconds` of wall time (then SIGALRM ends it) and of processor time, address space in MiB."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    cpu_s = int(seconds) + 1
    for what, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_mib * 1024 * 1024),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
    os.nice(niceness)


def main() -> None:
    """Try what standard input holds."""
    seconds, memory_mib, niceness = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    # Libraries write to standard output too; only our own line may reach who asked.
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    code, line = PASSED, ""
    try:
        # Before anything else is imported, and before a byte of the candidate is read.
        limit(seconds, memory_mib, niceness)
        code, line = _try(sys.stdin.buffer.read())
    except MemoryError:
        code = OUT_OF_MEMORY
    if line:
        os.write(answer, line.encode(errors="replace")[:MAX_LINE_BYTES])
    # Nothing of the candidate may hold the end up.
    os._exit(code)


def _try(data: bytes) -> tuple[int, str]:
    import msgspec  # noqa: PLC0415 - after the limits

    from features.signal_table import SIGNALS  # noqa: PLC0415
    from models.engine import Engine  # noqa: PLC0415
    from models.errors import ArtifactError, PolicyError  # noqa: PLC0415
    from models.policy import parse_policy  # noqa: PLC0415
    from models.trial import try_out  # noqa: PLC0415
    from stream import kernel_cache  # noqa: PLC0415
    from stream.trial import Candidate  # noqa: PLC0415

    candidate = msgspec.msgpack.decode(data, type=Candidate)
    del data
    kernel_cache.prepare()
    try:
        policy = parse_policy(candidate.policy, candidate.policy_name, known_signals=SIGNALS)
        try_out(Engine.build(candidate.bundle, policy), time.process_time)
    except PolicyError as error:
        return WRONG_POLICY, str(error)
    except ArtifactError as error:
        return REFUSED, str(error)
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        # A check of ours that is missing: the candidate is refused all the same.
        return REFUSED, f"{candidate.bundle.name}: {type(error).__name__} while it was built or scored: {error}"
    return PASSED, ""


if __name__ == "__main__":
    main()
