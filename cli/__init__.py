"""The command line: roles, one-shot commands, and `all` for development.

Importing it sets how often the process searches for cycles: before most modules load, which takes an eighth
longer where each few hundred of their functions and classes are searched through.
"""

import gc
from typing import Final

# New containers between two searches for cycles, and searches between those among older ones. At Python's own
# (700, 10, 10) what a turn makes is looked at again and again, a tenth of a worker's time; and at 100,000
# clusters a search among all of them stops a process for 0.1 s, every few seconds under load
# (docs/measured.md). Reference counts free what a record leaves behind; cycles are few, and may wait.
CYCLES_SOUGHT: Final = (50_000, 20, 50)

gc.set_threshold(*CYCLES_SOUGHT)
