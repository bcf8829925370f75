"""Processes that decode nothing, but do as they are told: the real ones, with another answer to what is asked."""

from __future__ import annotations

from tests.models.decoders import changed

OBEDIENT = changed("""
import os, signal, time

def answer(wish, data):
    if data == b"abort":
        os.abort()
    if data == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"sleep":
        time.sleep(1000)
    if data == b"nap":
        time.sleep(0.3)
    if data == b"garbage":
        os.write(0, bytes([255] * 100))
    if data == b"number":
        return 7, b""
    if data == b"nothing":
        return None, b""
    if data == b"twice":
        os.write(0, apart.LENGTHS.pack(2, 5) + b"{}" + data)
    if data.startswith(b"large") and wish.most is not None:
        return {"is_large": True}, b""
    return {"seconds": 0.0}, data

apart._answer = answer
""")
"""Start one that sends back what it was sent, unless that says something else."""
