"""How many jobs may wait, and what is shown of who does them (operations contract, section 4.4)."""

import pytest
from prometheus_client import REGISTRY

from web.job_pool import JobPool, JobPoolSettings, QueueFull


@pytest.fixture
def pool():
    return JobPool(JobPoolSettings(places=4, queue=2))


def test_what_is_being_let_in_counts_as_waiting(pool):
    with pool.admitted(0), pool.admitted(0):
        with pytest.raises(QueueFull) as full, pool.admitted(0):
            pass
        assert 5 == full.value.retry_after
    with pool.admitted(1):
        pass


def test_one_that_failed_on_its_way_waits_no_longer(pool):
    for _ in range(3):
        with pytest.raises(KeyError), pool.admitted(1):
            raise KeyError
    with pool.admitted(1):
        pass


def test_each_executor_has_room_for_more(pool):
    pool.instances = ("a", "b", "c")
    assert (12, 6) == (pool.workers, pool.capacity)
    with pool.admitted(5):
        pass
    with pytest.raises(QueueFull), pool.admitted(6):
        pass


def test_it_is_shown_under_the_names_of_the_contract(pool):
    pool.instances = ("a", "b")
    pool.show({"queued": 3, "processing": 1, "completed": 9})
    shown = {
        name: REGISTRY.get_sample_value(f"clustergenie_workerpool_{name}")
        for name in ("queue_length", "active_workers", "worker_count")
    }
    assert {"queue_length": 3, "active_workers": 1, "worker_count": 8} == shown
    pool.show({})
    assert 0 == REGISTRY.get_sample_value("clustergenie_workerpool_queue_length")
