"""Work done by threads ahead of its use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], count: int, threads: int) -> Iterator[T]:
    """make(0), make(1), ... in order, by threads while what was made before is computed on.

    At most `threads` + 1 are held. Worth it for what leaves Python's lock alone: Pillow's reading, numpy's copies. An error
    is raised in its turn.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting = deque(pool.submit(make, i) for i in range(min(threads, count)))
        try:
            for following in range(threads, threads + count):
                done = waiting.popleft().result()
                if following < count:
                    waiting.append(pool.submit(make, following))
                yield done
        finally:
            for future in waiting:
                future.cancel()
