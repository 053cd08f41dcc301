"""An in-memory cache of what the page computed for its visitors' photos."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class VisitorCache(Generic[T]):
    """A thread-safe LRU cache with a limit on items per owner and a limit on total bytes."""

    def __init__(self, max_per_owner: int, max_bytes: int):
        """Creates an empty cache.

        Args:
          max_per_owner: number of items that one owner may have.
          max_bytes: total size of all items. The most recent item is kept even if it is larger.
        """
        self.max_per_owner, self.max_bytes = max_per_owner, max_bytes
        self._items: OrderedDict[tuple[str, Hashable], T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, owner: str, key: Hashable, make: Callable[[], T]) -> T:
        """Returns the owner's item with this key; calls `make` if it is not in the cache."""
        with self._lock:
            if (item := self._items.get((owner, key))) is not None:
                self._items.move_to_end((owner, key))
                self._evict()
                return item
        # Without the lock, so that other visitors need not wait for this item.
        item = make()
        with self._lock:
            self._items[owner, key] = item
            self._items.move_to_end((owner, key))
            self._evict()
        return item

    def drop(self, owner: str) -> None:
        """Removes all items of an owner, for example one who has left the page."""
        with self._lock:
            for name in [name for name in self._items if name[0] == owner]:
                del self._items[name]

    @property
    def nbytes(self) -> int:
        """Total size of all items."""
        with self._lock:
            return sum(item.nbytes for item in self._items.values())

    def owners(self) -> list[str]:
        """Returns the owner of each item, from the least to the most recently used item."""
        with self._lock:
            return [owner for owner, _ in self._items]

    def _evict(self) -> None:
        """Enforces both limits. Runs at every access, because items grow while they are used."""
        last = next(reversed(self._items))
        own = [name for name in self._items if name[0] == last[0]]
        for name in own[: -self.max_per_owner]:
            del self._items[name]
        total = sum(item.nbytes for item in self._items.values())
        while total > self.max_bytes and len(self._items) > 1:
            total -= self._items.popitem(last=False)[1].nbytes
