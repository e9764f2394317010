"""Waiting for what another process does: as long as it takes, within bounds."""

import time


def until(what, holds, seconds=30):
    """What `holds` gives, once that is true; a failure that says `what` was waited for where it never is."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"after {seconds} s still not so: {what}"
        time.sleep(0.05)
    return found
