"""The erasure contract: a request, in the log like everything else, that a session's state be forgotten.

It stands behind the session's records in the session's own partition, so that whoever reads the log again folds up to
it and forgets again. Whoever may write to the topic may erase: a gateway must not pass on what a client calls so.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.base import EpochMs, Id, Name


class Erasure(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="capture.erasure.v1"):
    """Forget what is kept of one session. Key: `session_id`. Answered by no risk event; a later record begins anew."""

    event_id: Annotated[Id, Meta(description="Id of the request, to find it again in the log.")]
    session_id: Annotated[Id, Meta(description="Session to forget; also the record's key.")]
    tenant: Annotated[Name, Meta(description="Customer or product that the session belongs to; another's is refused.")]
    observed_at: Annotated[EpochMs, Meta(description="When the request was received, epoch ms.")]
