from __future__ import annotations

import threading

from app.cores import Cores


def waiting(cores: Cores) -> threading.Thread:
    """A thread that is going to decode."""
    thread = threading.Thread(target=cores.wait, daemon=True)
    thread.start()
    thread.join(0.05)
    return thread


def test_decoding_begins_when_the_last_batch_is_over() -> None:
    cores = Cores()
    with cores.computing():
        with cores.computing():
            decoding = waiting(cores)
        decoding.join(0.05)
        assert decoding.is_alive(), "another batch runs still"
    decoding.join(30)
    assert not decoding.is_alive()


def test_a_batch_that_failed_is_over_too() -> None:
    cores = Cores()
    try:
        with cores.computing():
            raise ZeroDivisionError
    except ZeroDivisionError:
        cores.wait()


def test_a_batch_that_never_ends_keeps_no_thread_when_the_process_ends() -> None:
    cores = Cores()
    with cores.computing():
        decoding = waiting(cores)
        assert decoding.is_alive()
        cores.close()
        decoding.join(30)
        assert not decoding.is_alive()
        with cores.computing():
            cores.wait()
