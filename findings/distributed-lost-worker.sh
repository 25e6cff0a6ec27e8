#!/usr/bin/env bash
# distributed 2026.8.0: SpecCluster, on which dask-jobqueue's SLURMCluster stands, does not replace a worker that is lost.
#
# After scale(2) the cluster goes on to list two workers in its plan when one has died, as where its job has reached
# its time limit, and starts no other one.  The same scale(2) again does, once `distributed.deploy.lost-worker-timeout`
# (15 s) is over; before that it does nothing either.  So a study whose jobs have all ended waits for ever.
#
# Seen: "asked for 2, there 2; one dies: there 1, planned 2; 5 s later: there 1; scale(2) again: there 2"
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet distributed==2026.8.0
"$place/venv/bin/python" - <<'PY'
import logging
import time

import dask
from distributed import Client, Scheduler, SpecCluster, Worker

logging.disable(logging.CRITICAL)
dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"})


def there(client):
    return len(client.scheduler_info(n_workers=-1)["workers"])


scheduler = {"cls": Scheduler, "options": {"dashboard_address": None, "port": 0}}
worker = {"cls": Worker, "options": {"dashboard": False}}
with SpecCluster({}, scheduler, worker) as cluster, Client(cluster) as client:
    cluster.scale(2)
    client.wait_for_workers(2)
    seen = [there(client)]
    client.sync(next(iter(cluster.workers.values())).close)
    time.sleep(0.5)
    seen += [there(client), len(cluster.worker_spec)]
    time.sleep(5)
    seen.append(there(client))
    cluster.scale(2)
    client.wait_for_workers(2, timeout=30)
    seen.append(there(client))
print("asked for 2, there {}; one dies: there {}, planned {}; 5 s later: there {}; scale(2) again: there {}".format(*seen))
assert seen == [2, 1, 2, 1, 2], "the behaviour has changed"
PY
