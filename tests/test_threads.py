"""How many threads each thread of ours computes with."""

from __future__ import annotations

import threading

import torch

from evalsuite.threads import Threads, threads, use_threads


def test_a_thread_keeps_its_number_whatever_others_set() -> None:
    set_here, set_there = threading.Event(), threading.Event()
    found: list[int] = []

    def work() -> None:
        use_threads(3)
        set_there.set()
        set_here.wait()
        torch.ones(2, 2) @ torch.ones(2, 2)
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    set_there.wait()
    with threads(torch.get_num_threads() + 1):
        set_here.set()
        thread.join()
    assert found == [3]


def test_threads_compute_with_the_help_that_they_were_given() -> None:
    before = torch.get_num_threads()
    for count, each in ((2, 1), (3, 2)):
        assert set(Threads(count, each).map(lambda _: torch.get_num_threads(), range(9))) == {each}
    assert list(Threads().map(lambda a, b: (a - b, torch.get_num_threads()), (3, 4), (1, 1))) == [
        (2, before),
        (3, before),
    ]
