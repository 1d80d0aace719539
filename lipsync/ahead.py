"""Work done in batches, one batch ahead of whoever asks for its results."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Ahead(Generic[K, T]):
    """Results by key, the last `kept` of them; `work` gets up to `batch` keys at once and runs in `pool`."""

    def __init__(self, work: Callable[[list[K]], list[T]], pool: Executor, batch: int, kept: int) -> None:
        self._work, self._pool, self._batch, self._most = work, pool, batch, kept
        self._awaited: deque[K] = deque()
        self._announced: set[K] = set()
        self._coming: Future[dict[K, T]] | None = None
        self._kept: OrderedDict[K, T] = OrderedDict()

    def expect(self, keys: Iterable[K]) -> None:
        """Be told what will be asked for, in its order."""
        self._awaited = deque(dict.fromkeys(keys))
        self._announced = set(self._awaited)
        self._coming = self._next()

    def of(self, key: K) -> T:
        while key in self._announced and self._coming:
            self._keep(self._coming.result())
            self._coming = self._next()
        if key not in self._kept:
            # work for one takes as long as for a whole batch
            self._keep(self._pool.submit(self._made, [key, *self._taken(self._batch - 1)]).result())
        self._kept.move_to_end(key)
        return self._kept[key]

    def _next(self) -> Future[dict[K, T]] | None:
        """Begin the next batch while the last one is being used."""
        batch = self._taken(self._batch)
        return self._pool.submit(self._made, batch) if batch else None

    def _taken(self, most: int) -> list[K]:
        return [self._awaited.popleft() for _ in range(min(most, len(self._awaited)))]

    def _made(self, keys: list[K]) -> dict[K, T]:
        return dict(zip(keys, self._work(keys), strict=True))

    def _keep(self, made: dict[K, T]) -> None:
        self._kept |= made
        self._announced -= made.keys()
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
