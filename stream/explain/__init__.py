"""Explains one session to a reviewer: a page in one file, and a view for the terminal.

Nothing is scored here: all that is told stands in the session's risk events and in the telemetry that they answer. Of
telemetry only the pointer's way is shown and what kinds of evidence there were; no reference, no device fact, no key.
"""
