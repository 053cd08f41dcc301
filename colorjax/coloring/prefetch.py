"""Prefetching: work that starts before its results are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetched(
    pool: Executor, items: Iterable[Item], work: Callable[[Item], Result], count: int
) -> Iterator[tuple[Item, Result]]:
    """Yields (item, work(item)) in order, with up to `count` items processed ahead in the pool."""
    pending: deque[tuple[Item, Future[Result]]] = deque()
    with ExitStack() as stack:
        stack.callback(lambda: [future.cancel() for _, future in pending])
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) > count:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
