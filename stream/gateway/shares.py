"""What each address holds of something that the gateway has little of, bounded: nobody must use up all of it.

So an address that sends slowly gets no other one into trouble. Nothing is remembered of who holds nothing.
"""

from collections.abc import Hashable


class Shares:
    """How much is held by key, at most `most` each. Per process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """How many hold something."""
        return len(self._held)

    @property
    def largest(self) -> int:
        """What the one that holds most holds."""
        return max(self._held.values(), default=0)

    def has_room(self, key: Hashable, amount: int) -> bool:
        """Whether `key` could take so much more."""
        return self._held.get(key, 0) + amount <= self._most

    def take(self, key: Hashable, amount: int) -> bool:
        """Let `key` hold so much more, and return True; or nothing more, and return False."""
        if not self.has_room(key, amount):
            return False
        if amount:
            self._held[key] = self._held.get(key, 0) + amount
        return True

    def give_back(self, key: Hashable, amount: int) -> None:
        """Let `key` hold so much less."""
        left = self._held.pop(key, 0) - amount
        if left > 0:
            self._held[key] = left
