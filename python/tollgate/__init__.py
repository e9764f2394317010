"""Rate limits and quotas inside of a Python application.

`Gate` decides, `SyncGate` does so for threads, and `tollgate.asgi` and `tollgate.fastapi` put a gate in front of an
application.
"""

from ._cost import Amount, CostError
from ._gate import Gate
from ._sync import SyncGate
from ._tollgate import Decision, PolicyError

__all__ = ["Amount", "CostError", "Decision", "Gate", "PolicyError", "SyncGate"]
