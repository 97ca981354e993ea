"""Runs one command and prints what it took as JSON.

It is alone in a small process, whose own peak of memory counts as the command's, as Linux hands it down.

usage: python -I -S one_run.py LOG COMMAND...
"""

import json
import os
import sys
import time

with open(sys.argv[1], "wb") as log:
    nothing = os.open(os.devnull, os.O_RDONLY)
    places = [
        (os.POSIX_SPAWN_DUP2, nothing, 0),
        (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
        (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
    ]
    began = time.perf_counter()
    pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=places)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - began
print(json.dumps([os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
