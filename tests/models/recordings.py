"""Made-up recordings in the layout of a data folder, for tests alone: nothing is trained on them that leaves a test."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.dataset import Recording

Row = dict[str, object]


def wiggle(seed: int, seconds: float, *, smooth: bool = False, step_ms: float = 16.0) -> tuple[np.ndarray, ...]:
    """A pointer path of some seconds: t, x, y, kind, button. smooth: without noise, as a simple bot would move."""
    rng = np.random.default_rng(seed)
    t = np.round(np.arange(0.0, seconds * 1000.0, step_ms) + (0.0 if smooth else rng.uniform(0, 4)))
    phase = t / 1000.0 * rng.uniform(1.0, 3.0)
    x = 500 + 300 * np.sin(phase) + (0 if smooth else np.cumsum(rng.normal(0, 1.5, len(t))))
    y = 400 + 200 * np.cos(phase * rng.uniform(0.5, 1.5)) + (0 if smooth else np.cumsum(rng.normal(0, 1.5, len(t))))
    # A rest now and then, and a click in it.
    rest = (t % 2500.0) > 2000.0
    x[rest], y[rest] = (
        np.round(x[rest][:1].mean() if rest.any() else 0),
        np.round(y[rest][:1].mean() if rest.any() else 0),
    )
    kind, button = np.zeros(len(t), dtype=np.int64), np.zeros(len(t), dtype=np.int64)
    for at in np.flatnonzero(np.diff(rest.astype(int)) == 1):
        if at + 8 < len(t):
            kind[at + 3], kind[at + 8] = 1, 2
            button[at + 3] = button[at + 8] = 1
    return t, np.round(x), np.round(y), kind, button


def typing(seed: int, n: int, *, constant: bool = False) -> tuple[np.ndarray, ...]:
    """Key presses: down, up, class."""
    rng = np.random.default_rng(seed)
    gaps = np.full(n, 100.0) if constant else np.exp(rng.normal(np.log(160.0), 0.45, n))
    down = np.round(np.cumsum(gaps))
    up = down + (50.0 if constant else np.round(np.exp(rng.normal(np.log(90.0), 0.25, n))))
    return down, up, np.where(rng.random(n) < 0.15, 3, 1).astype(np.int64)


def row(session_id: str, source: str, seed: int, *, user: str | None = None, family: str | None = None,
        seconds: float = 6.0, keys: int = 0, pointer: bool = True) -> Row:  # fmt: skip
    """One session in the columns of a data folder."""
    t, x, y, kind, button = wiggle(seed, seconds, smooth=family is not None) if pointer else (np.zeros(0),) * 5
    down, up, key_class = typing(seed, keys, constant=family is not None) if keys else (np.zeros(0),) * 3
    return {
        "session_id": session_id, "source": source, "user_id": user,
        "label": int(family is not None), "bot_family": family,
        "capture": "recorded", "pointer_type": "mouse" if pointer else "none", "viewport_w": 1280, "viewport_h": 720,
        "n_pointer": len(t), "n_key": len(down), "duration_ms": float(t[-1]) if len(t) else 0.0,
        "t_ms": list(map(float, t)), "x": list(map(float, x)), "y": list(map(float, y)),
        "kind": [int(v) for v in kind], "button": [int(v) for v in button],
        "key_down_ms": list(map(float, down)), "key_up_ms": list(map(float, up)),
        "key_cat": [int(v) for v in key_class],
        "note": "a note",
    }  # fmt: skip


SCHEMA = pa.schema([
    ("session_id", pa.string()), ("source", pa.string()), ("user_id", pa.string()), ("label", pa.int8()),
    ("bot_family", pa.string()), ("capture", pa.string()), ("pointer_type", pa.string()), ("viewport_w", pa.int16()),
    ("viewport_h", pa.int16()), ("n_pointer", pa.int32()), ("n_key", pa.int32()), ("duration_ms", pa.float32()),
    ("t_ms", pa.list_(pa.float32())), ("x", pa.list_(pa.float32())), ("y", pa.list_(pa.float32())),
    ("kind", pa.list_(pa.int8())), ("button", pa.list_(pa.int8())), ("key_down_ms", pa.list_(pa.float32())),
    ("key_up_ms", pa.list_(pa.float32())), ("key_cat", pa.list_(pa.int8())), ("note", pa.string()),
])  # fmt: skip


def folder(path: Path, rows: list[Row], *, drop: tuple[str, ...] = (), row_group: int = 7) -> Path:
    """Write the rows as a data folder, without the columns in `drop`."""
    path.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(
        table.select([n for n in SCHEMA.names if n not in drop]), path / "sessions.parquet", row_group_size=row_group
    )
    return path


def small_world(per_source: int = 6) -> list[Row]:
    """Sessions of every source and family that training and evaluation know, a few each."""
    rows: list[Row] = []
    for s, source in enumerate(("sapimouse", "balabit", "delbot")):
        rows += [
            row(f"{source}-{k}", source, 100 * s + k, user=f"u{k // 2}", seconds=9.0 + k) for k in range(per_source)
        ]
    for f, (source, family) in enumerate((
        ("sapimouse_gen", "pyclick"), ("sapimouse_gen", "windmouse"),
        ("delbot", "delbot_gan"), ("delbot", "delbot_pynput"),
    )):  # fmt: skip
        rows += [
            row(f"{family}-{k}", source, 1000 + 100 * f + k, family=family, seconds=6.0) for k in range(per_source + 16)
        ]
    return rows


def recording(seed: int = 1, seconds: float = 6.0, keys: int = 0, session_id: str = "s-1") -> Recording:
    """One recording as the reader would give it."""
    t, x, y, kind, button = wiggle(seed, seconds)
    down, up, key_class = typing(seed, keys) if keys else (np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    return Recording(session_id, "somewhere", "mouse", (1280.0, 720.0), t, x, y, kind, button, down, up, key_class)
