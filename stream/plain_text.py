"""Text from outside as plain characters: nothing in it steers a terminal, hides, or turns what stands beside it."""

import unicodedata


def printable(text: str) -> str:
    """Return text without what steers a terminal or hides: control, format and unassigned characters are escaped."""
    return "".join(each if _is_plain(each) else f"\\u{{{ord(each):x}}}" for each in text)


def escaped(value: bytes) -> str:
    """Return bytes as one line of text: UTF-8 where they are, hex where not, and nothing that steers a terminal."""
    return printable(value.decode("utf-8", errors="backslashreplace"))


def _is_plain(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in "CZ"
