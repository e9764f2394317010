"""Waits for what another process does, as long as it takes, within bounds."""

import time


def until(what, holds, seconds=30):
    """Returns what `holds` returns, once that is true; if it never is, fails and says `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"after {seconds} s still not so: {what}"
        time.sleep(0.05)
    return found
