#!/usr/bin/env bash
# jax 0.10.2: jax.distributed.initialize() takes SIGTERM for itself; a handler that was set before is never called.
#
# The preemption service, which is on by default, puts its own handler in the place of Python's, and signal.getsignal
# goes on to name the old one.  A training that saves a checkpoint at SIGTERM, as before a job's time is up, saves none
# when it runs over several hosts, and is killed.  jax.config.update("jax_enable_preemption_service", False) before
# avoids it.
#
# Seen: "service True: handler is mine True, called False", "service False: handler is mine True, called True"
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
for service in True False; do
    "$place/venv/bin/python" - "$service" 2> /dev/null <<'PY'
import os
import signal
import socket
import sys

import jax

called = []
mine = lambda number, frame: called.append(number)
signal.signal(signal.SIGTERM, mine)
jax.config.update("jax_enable_preemption_service", sys.argv[1] == "True")
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
jax.distributed.initialize(f"127.0.0.1:{port}", 1, 0)
os.kill(os.getpid(), signal.SIGTERM)
named = signal.getsignal(signal.SIGTERM) is mine
print(f"service {sys.argv[1]}: handler is mine {named}, called {bool(called)}")
assert named and bool(called) == (sys.argv[1] == "False"), "the behaviour has changed"
PY
done
