"""A foreign client for ci/apache.sh: kazoo, through the proxy.

load.py HOSTS SECONDS SEED: counters by compare-and-set, ephemeral and sequential nodes,
watches, transactions, a node that only its user may see. Errors are what it is for; it goes on.
"""

import random
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_digest_acl

hosts, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
end = time.monotonic() + seconds
counts = {}


def counted(name, work):
    try:
        work()
        outcome = "ok"
    except (KazooException, KazooTimeoutError) as error:
        outcome = type(error).__name__
    counts[name, outcome] = counts.get((name, outcome), 0) + 1


def increment(client):
    value, stat = client.get("/kazoo/counter")
    client.set("/kazoo/counter", b"%d" % (int(value) + 1), version=stat.version)


def pair(client):
    value = b"%d-%d" % (seed, draw.randrange(1 << 30))
    transaction = client.transaction()
    transaction.set_data("/kazoo/left", value)
    transaction.set_data("/kazoo/right", value)
    transaction.commit()


def mine(client):
    acl = [make_digest_acl("kazoo", "secret", all=True)]
    client.create("/kazoo/own-%d" % seed, b"x", acl=acl)
    client.get("/kazoo/own-%d" % seed)
    client.delete("/kazoo/own-%d" % seed)


def steps(client):
    return [
        ("increment", lambda: increment(client)),
        ("pair", lambda: pair(client)),
        ("read", lambda: (client.sync("/kazoo"), client.get("/kazoo/left"), client.get("/kazoo/right"))),
        ("ephemeral", lambda: client.create("/kazoo/e-", b"e", ephemeral=True, sequence=True)),
        ("children", lambda: client.get_children("/kazoo", watch=lambda event: None, include_data=True)),
        ("watch", lambda: client.get("/kazoo/counter", watch=lambda event: None)),
        ("exists", lambda: client.exists("/kazoo/own-%d" % (seed % 3), watch=lambda event: None)),
        ("own", lambda: mine(client)),
        ("remove", lambda: client.delete("/kazoo/left" if draw.random() < 0.1 else "/kazoo/none")),
    ]


while time.monotonic() < end:
    client = KazooClient(hosts=hosts, timeout=4, auth_data=[("digest", "kazoo:secret")])
    try:
        client.start(timeout=20)
    except KazooTimeoutError:
        continue
    for node, value in (("", b""), ("/counter", b"0"), ("/left", b""), ("/right", b"")):
        counted("ensure", lambda: client.create("/kazoo" + node, value))
    until = min(end, time.monotonic() + draw.uniform(3, 15))
    while time.monotonic() < until:
        counted(*draw.choice(steps(client)))
        time.sleep(draw.uniform(0.0, 0.1))
    client.stop()
    client.close()

for (name, outcome), count in sorted(counts.items()):
    print(name, outcome, count)
