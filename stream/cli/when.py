"""Times as a person gives them to a command: so long ago, or a moment."""

import re
import time
from datetime import UTC, datetime

import typer


def since_ms(text: str, hint: str = "--since") -> int:
    """Epoch ms of `90s`, `30m`, `24h` or `7d` ago, or of a time (UTC, where it names no zone). Raises BadParameter."""
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago:
        seconds = int(ago[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[ago[2]]
        return max(0, time.time_ns() // 1_000_000 - seconds * 1_000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        msg = "give 90s, 30m, 24h, 7d, or a time such as 2026-01-31T08:00 (UTC, where it names no zone)"
        raise typer.BadParameter(msg, param_hint=hint) from None
    return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000))
