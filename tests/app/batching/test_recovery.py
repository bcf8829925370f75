"""Every state of the batch policy has a way back: slowdowns do not leave it with small batches."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.policy import BatchPolicy
from app.batching.request import QueuedItem
from app.batching.scheduler import BatchScheduler
from app.errors import DeadlineUnmeetable

SIZES = (1, 2, 4, 8, 12, 16)
LOADS = ("single items", "bursts", "saturation")


@dataclass
class Machine:
    """A simulated machine with two workers, on which a batch takes base + item · size, times 2 beside another one."""

    base_s: float
    item_s: float
    random: random.Random = field(default_factory=lambda: random.Random(0))
    now: float = 0.0

    def policy(self) -> BatchPolicy:
        policy = BatchPolicy(16, max_run_s=0.1, workers=2, shares_cores=True, preferred_batch_sizes=SIZES)
        self.run(policy, "bursts", 5)
        self.run(policy, "saturation", 10)
        return policy

    def run(self, policy: BatchPolicy, load: str, seconds: float, slowdown: float = 1) -> None:
        """Let the policy observe the batches that it would choose under a load for some time."""
        end = self.now + seconds
        while self.now < end:
            policy.run_time.fade(self.now)
            policy.update_target()
            waiting = {"single items": 1, "bursts": self.random.randint(1, 40), "saturation": 1000}[load]
            size = min(waiting, policy.target_size)
            concurrent = size == policy.target_size > 1
            run_s = (self.base_s + self.item_s * size) * (2 if concurrent else 1) * slowdown
            policy.observe(size, run_s * self.random.uniform(0.9, 1.1), concurrent=concurrent)
            self.now += run_s / (2 if concurrent else 1) + (0 if load == "saturation" else 0.02)


@settings(max_examples=60)
@given(
    st.sampled_from([(0.004, 0.002), (0.001, 0.006), (0.02, 0.0005), (0.02, 0.006)]),
    st.lists(
        st.tuples(st.sampled_from(LOADS), st.floats(0.1, 5), st.sampled_from([1, 1.5, 3, 10, 30])),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(LOADS),
)
def test_full_batch_recovers_from_any_history_of_slowdowns(
    times: tuple[float, float], history: list[tuple[str, float, float]], load: str
) -> None:
    machine = Machine(*times)
    policy = machine.policy()
    fresh = policy.target_size
    for slow_load, seconds, slowdown in history:
        machine.run(policy, slow_load, seconds, slowdown)
    machine.run(policy, load, 10)
    if load == "single items":  # the first batches of a burst tell the rest
        machine.run(policy, "bursts", 0.5)
    assert abs(SIZES.index(policy.target_size) - SIZES.index(fresh)) <= 1


def test_batches_of_one_item_do_not_stay_after_two_slow_ones() -> None:
    policy = BatchPolicy(16, max_run_s=0.1, workers=2, shares_cores=True, preferred_batch_sizes=SIZES)
    for size in (1, 2, 4, 8):
        policy.observe(size, 0.004 + 0.002 * size, concurrent=False)
    for _ in range(3):
        policy.observe(8, 0.04, concurrent=True)
    assert policy.target_size == 16
    for _ in range(20):
        policy.observe(policy.target_size, 0.4, concurrent=True)
    assert policy.target_size == 1
    for _ in range(300):
        policy.observe(1, 0.006, concurrent=False)
    assert policy.target_size >= 12


def test_larger_size_is_tried_while_all_batches_have_one_size() -> None:
    policy = BatchPolicy(16, max_run_s=0.1, workers=2, shares_cores=True, preferred_batch_sizes=SIZES)
    machine = Machine(0.02, 0.006)
    for _ in range(100):
        policy.observe(2, 3 * (0.02 + 0.006 * 2), concurrent=True)
    assert policy.target_size <= 2
    machine.run(policy, "saturation", 60)
    assert policy.target_size >= 4


@pytest.mark.parametrize("late_s", [0.5, 10, 100])
def test_margin_that_rejects_every_request_shrinks(late_s: float) -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(capacity=100, max_batch=4)
    for _ in range(300):
        scheduler.observe_wait(0, late_s)
    scheduler.reserve(1, 0.0)
    rejections = 0
    while is_rejected(scheduler, deadline=0.2):
        rejections += 1
        assert rejections < 5000
    assert rejections


def is_rejected(scheduler: BatchScheduler[QueuedItem], deadline: float) -> bool:
    try:
        scheduler.check_room(1, 0.0, deadline)
    except DeadlineUnmeetable:
        return True
    return False
