"""Work done by threads: ahead of its use, or shared out among torch's own."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

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


_PART = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache
def _parallel() -> Callable | None:
    """GNU OpenMP's entry for a parallel region, where torch has loaded that library, or None."""
    try:
        entry = ctypes.CDLL("libgomp.so.1", mode=ctypes.DEFAULT_MODE | os.RTLD_NOLOAD).GOMP_parallel
    except (OSError, AttributeError):  # another OpenMP, another system
        return None
    entry.argtypes, entry.restype = [_PART, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return entry


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C meanwhile is answered afterwards: an exception on the way into a C library's callback would be dropped."""
    handler, arrived = signal.getsignal(signal.SIGINT), []
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    signal.signal(signal.SIGINT, lambda *what: arrived.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if arrived:
        handler(*arrived[0])


def beside() -> bool:
    """Whether `shared` has threads to work side by side."""
    return torch.get_num_threads() > 1 and _parallel() is not None


def shared(work: Callable[[int], object], count: int, threads: int | None = None) -> None:
    """work(0), ..., work(count - 1), side by side on the threads torch computes with; within each torch uses one.

    On torch's own threads, since these keep a core busy while they wait for torch: others would have to share it with them.
    Where they cannot be had, one after the other. An error is raised when all threads are done. `threads`: at most so many.
    """
    todo, errors = iter(range(count)), []
    threads = min(count, threads or torch.get_num_threads())
    parallel = _parallel() if threads > 1 else None

    def part(_: object) -> None:
        try:
            with torch.no_grad():
                for i in todo:
                    work(i)
        except BaseException as error:  # nothing may leave a thread of OpenMP's by an exception
            errors.append(error)

    if parallel is None:
        part(None)
    else:
        with _interrupts_held():
            parallel(_PART(part), None, threads, 0)
    if errors:
        raise errors[0]
