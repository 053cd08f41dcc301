"""What the page keeps of its visitors' photos, so that nothing is read or seen twice."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class VisitorCache(Generic[T]):
    """Things of owners, the last ones used: few of an owner, and not too large in all."""

    def __init__(self, most_of_owner: int, most_bytes: int):
        """Keeps nothing yet.

        Args:
          most_of_owner: things of one owner.
          most_bytes: of all things together; one is kept however large it is.
        """
        self.most_of_owner, self.most_bytes = most_of_owner, most_bytes
        self._things: OrderedDict[tuple[str, Hashable], T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, owner: str, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of that key, which is made if it is not there."""
        with self._lock:
            if (thing := self._things.get((owner, key))) is not None:
                self._things.move_to_end((owner, key))
                self._drop_what_is_too_much()
                return thing
        # Meanwhile others get theirs.
        thing = make()
        with self._lock:
            self._things[owner, key] = thing
            self._things.move_to_end((owner, key))
            self._drop_what_is_too_much()
        return thing

    def drop(self, owner: str) -> None:
        """Drops all that an owner has, who has left."""
        with self._lock:
            for name in [name for name in self._things if name[0] == owner]:
                del self._things[name]

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        with self._lock:
            return sum(thing.nbytes for thing in self._things.values())

    def owners(self) -> list[str]:
        """The owner of each thing, of the last one used last."""
        with self._lock:
            return [owner for owner, _ in self._things]

    def _drop_what_is_too_much(self) -> None:
        """Things grow while they are used: those of all are counted at every use."""
        last = next(reversed(self._things))
        own = [name for name in self._things if name[0] == last[0]]
        for name in own[: -self.most_of_owner]:
            del self._things[name]
        total = sum(thing.nbytes for thing in self._things.values())
        while total > self.most_bytes and len(self._things) > 1:
            total -= self._things.popitem(last=False)[1].nbytes
