"""The first signal asks, the second one ends the process."""

import os
import signal
import subprocess
import sys

import pytest

from minicoulomb.signals import StopRequest

TWICE = """
import os, signal, time
from minicoulomb.signals import StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), signal.{first})
    print("asked", bool(stop), stop.exit_status, flush=True)
    os.kill(os.getpid(), signal.{second})
    time.sleep(60)
print("never")
"""


@pytest.mark.parametrize(("first", "second", "status"), [("SIGINT", "SIGINT", 130), ("SIGINT", "SIGTERM", 143)])
def test_a_second_signal_aborts(first, second, status):
    program = TWICE.format(first=first, second=second)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert result.returncode == status
    assert result.stdout == "asked True 130\n"


def test_the_handlers_from_before_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.exit_status == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
