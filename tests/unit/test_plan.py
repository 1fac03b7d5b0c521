"""Threads and processes: as the settings say, else as many as the machine can use."""

import os

import pytest

from recollect import plan
from recollect.settings import Settings


@pytest.mark.parametrize(
    ("processors", "calls", "children"),
    [(1, 2, 1), (2, 3, 2), (3, 4, 2), (4, 5, 2), (8, 9, 4), (64, 72, 32)],
)
def test_calls_that_wait_leave_no_processor_idle_and_models_do_not_crowd_it(
    processors, calls, children
):
    found = plan.plan(Settings(), processors)
    assert (found.call_threads, found.decode_children) == (calls, children)
    assert (found.model_processes, found.search_threads) == (processors, 1)


def test_few_calls_need_few_processes():
    found = plan.plan(Settings(call_threads=3), 64)
    assert (found.model_processes, found.decode_children) == (3, 2)


def test_what_is_set_is_not_planned():
    settings = Settings(call_threads=5, decode_children=7, model_processes=2, search_threads=3)
    found = plan.plan(settings, 64)
    assert (found.call_threads, found.decode_children) == (5, 7)
    assert (found.model_processes, found.search_threads) == (2, 3)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_a_container_has_the_processors_that_it_is_granted(tmp_path, monkeypatch, files, limit):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert plan.usable_processors(tmp_path) == (limit or 64)


def test_processors_that_the_process_is_not_bound_to_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert plan.usable_processors(tmp_path) == 1
