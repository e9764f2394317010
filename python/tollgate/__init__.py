"""Rate limits and quotas inside of a Python application.

`Gate` decides; `tollgate.asgi` and `tollgate.fastapi` put it in front of an application.
"""

from ._cost import Amount, CostError
from ._gate import Gate
from ._tollgate import Decision, PolicyError

__all__ = ["Amount", "CostError", "Decision", "Gate", "PolicyError"]
