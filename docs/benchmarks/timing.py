"""
How the benchmarks measure time.
"""

import gc
from collections.abc import Callable
from time import perf_counter


def timed(way: Callable[[], object], times: int) -> float:
    """
    Return how many seconds one of many calls takes on average, without garbage collection.
    """
    gc.collect()
    gc.disable()
    started = perf_counter()
    for _ in range(times):
        way()
    took = (perf_counter() - started) / times
    gc.enable()
    return took
