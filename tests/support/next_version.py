"""Runs `tellwire` as a version after this one would run: its sessions' state has another layout.

`python -m tests.support.next_version worker [OPTIONS]`
"""

from __future__ import annotations

import hashlib

from features import codec

codec.STATE_VERSION = hashlib.sha256(codec.STATE_VERSION.encode()).hexdigest()[:12]
# Nothing of `codec` was used by anybody yet: what it derived from the version follows it.
codec._VERSION = bytes.fromhex(codec.STATE_VERSION)
codec._PREFIX = codec.MAGIC + codec._VERSION

if __name__ == "__main__":
    from stream.cli import main

    main()
