"""The one table of derived signals: severity, category, method, cue, exemption and source of each."""

from typing import Final

from features.signal_definition import SignalDefinition
from features.signal_table_behaviour import BEHAVIOUR
from features.signal_table_browser import BROWSER
from features.signal_table_capture import CAPTURE
from features.signal_table_edge import EDGE
from features.signal_table_upstream import UPSTREAM

SIGNALS: Final[dict[str, SignalDefinition]] = {
    definition.name: definition for definition in (*BROWSER, *EDGE, *BEHAVIOUR, *CAPTURE, *UPSTREAM)
}
"""Every derived signal by name, in the order of documents and events."""
