"""hang.py STORE PID SECONDS: how long the event loop stands still, and requests wait, while the store hangs.

Prints JSON, in seconds: what passes between two turns of the loop, by the clock and in the thread's CPU time, and how
long requests waited, without the gate and with it. The store's process PID is stopped, and continued at the end.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import accumulate, count

from tollgate import Gate

TIMEOUT = 0.05
# Clients that no lease pays for, so that each of their requests needs the store.
REQUESTS_PER_SECOND = 200
LONGEST = 100_000

Ask = Callable[[int], Awaitable[object]]


def share(counts: list[int], part: float) -> float:
    """The time that this part of the turns does not exceed."""
    reached = accumulate(counts)
    wanted = sum(counts) * part
    return next(number + 1 for number, many in enumerate(reached) if many >= wanted) / 1e6


async def measured(seconds: float, ask: Ask) -> dict[str, float]:
    """Asks at an even pace, and looks after each turn of the loop how long it took."""
    # By microseconds, the last for all that take longer: a list that grows would itself stop the loop.
    walls, cpus = [0] * LONGEST, [0] * LONGEST
    longest = [0.0, 0.0]
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def request(number: int) -> None:
        began = time.perf_counter()
        await ask(number)
        waits.append(time.perf_counter() - began)

    async def heart() -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        while wall < end:
            # It does not sleep: a timer of the loop is a millisecond late by itself.
            await asyncio.sleep(0)
            now, used = time.perf_counter(), time.thread_time()
            walls[min(int((now - wall) * 1e6), LONGEST - 1)] += 1
            cpus[min(int((used - cpu) * 1e6), LONGEST - 1)] += 1
            longest[:] = max(longest[0], now - wall), max(longest[1], used - cpu)
            wall, cpu = now, used

    # What Python collects is not the gate's to answer for, and would be in both.
    gc.collect()
    gc.freeze()
    beating = asyncio.create_task(heart())
    tasks: list[asyncio.Task[None]] = []
    for number in count():
        if time.perf_counter() > end:
            break
        tasks.append(asyncio.create_task(request(number)))
        await asyncio.sleep(1 / REQUESTS_PER_SECOND)
    await asyncio.gather(beating, *tasks)
    return {
        "turns": sum(walls),
        "requests": len(waits),
        "wall_p999": share(walls, 0.999),
        "wall_max": longest[0],
        "cpu_p999": share(cpus, 0.999),
        "cpu_max": longest[1],
        "wait_p50": sorted(waits)[len(waits) // 2],
        "wait_max": max(waits),
    }


async def main(store: str, pid: int, seconds: float) -> None:
    """Measures without the gate, then with it."""
    rules = {
        "tiers": {"free": {"rate": "100/minute", "monthly": 50_000}},
        "default_tier": "free",
        "anonymous": {"rate": "5/second"},
        "store": {"upstream": store, "timeout": f"{round(TIMEOUT * 1000)}ms"},
    }
    without = await measured(seconds, lambda _: asyncio.sleep(TIMEOUT))
    gate = Gate(rules, telemetry=())
    await gate.start()
    tick = gate._node.interval if gate._node is not None else None
    try:
        await gate.decide(consumer="first")
        os.kill(pid, signal.SIGSTOP)
        leased = await measured(seconds, lambda number: gate.decide(consumer=f"client-{number}"))
    finally:
        os.kill(pid, signal.SIGCONT)
        await gate.close()
    print(json.dumps({"timeout": TIMEOUT, "tick": tick, "without": without, "tollgate": leased}))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
