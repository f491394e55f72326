"""A master with replicas, Sentinel, and a cluster, on loopback: they die, fail over and move slots on command."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
import redis as driver
from redis.crc import key_slot

from caliper_readtime.errors import StoreUnavailable
from caliper_readtime.testing._redis_server import NO_SERVER, RedisServer, find_server, must_have_server

SLOTS = 16384
LONGEST_WAIT = 30.0  # for elections; only a hang ever waits so long
REPLICATES = {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
# Below the ports that the system gives to clients; a cluster's nodes talk to each other 10,000 above.
PORTS = range(15000, 22000)
NODE_TIMEOUT_MS = 1000
SERVICE = "mymaster"


def program(found=None):
    """A server to start; without one, CI fails and anybody else is told what has not been tested."""
    found = found or find_server()
    if found is None:
        (pytest.fail if must_have_server() else pytest.skip)(NO_SERVER)
    return found


def wait(condition, what):
    """Wait, with a bound, until a condition holds; a server that is not there yet holds nothing."""
    end = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            if condition():
                return
        except driver.RedisError:
            pass
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.02)


def on_free_ports(stack, number, make):
    """Make so many servers, each on a port of which the cluster bus' is free, too."""
    made = []
    for _ in range(20 * number):
        port = random.choice(PORTS)
        try:
            for one in (port, port + 10_000):
                socket.create_server(("127.0.0.1", one)).close()
            made.append(stack.enter_context(make(port)))
        except (OSError, StoreUnavailable):
            continue
        if len(made) == number:
            return made
    raise AssertionError("no free ports")


class Node:
    """A server and the administrator's connection to it."""

    def __init__(self, server):
        self.server = server
        self.port = server.port
        self.admin = driver.Redis(port=server.port, decode_responses=True, socket_timeout=5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.admin.close()
        self.server.close()

    def replicates(self, other_port):
        """Whether it follows that master, and has all that it had at first."""
        info = self.admin.info("replication")
        return info.get("master_port") == other_port and info.get("master_link_status") == "up"

    def follow(self, port):
        """Replicate, by way of that port."""
        self.admin.replicaof("127.0.0.1", port)

    def promote(self):
        """Be a master."""
        self.admin.replicaof("NO", "ONE")


class Topology:
    """Several servers that go together. A context manager; what has begun when it cannot be built is ended."""

    def __init__(self):
        self._stack = ExitStack()
        try:
            self._build(self._stack)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()


class Replicated(Topology):
    """A master and replicas.

    Args:
        replicas: how many.
        through: a proxy that stands between them.
    """

    def __init__(self, replicas=1, through=None):
        self._size, self._through = replicas + 1, through
        super().__init__()

    def _build(self, stack):
        which = program()
        self.nodes = [stack.enter_context(Node(RedisServer(REPLICATES, program=which))) for _ in range(self._size)]
        self.master, *self.replicas = self.nodes
        if self._through is not None:
            self._through.target = self.master.port
        for replica in self.replicas:
            replica.follow((self._through or self.master).port)
        self.wait_for_replicas()

    def wait_for_replicas(self):
        """Wait until every replica has what its master has."""
        wait(self._acknowledged, "replicas have it all")

    def _acknowledged(self):
        # Only what this very connection has written counts.
        self.master.admin.set("probe", "")
        self.master.admin.delete("probe")
        return self.master.admin.wait(len(self.replicas), 100) == len(self.replicas)


class Sentinels(Replicated):
    """A master, a replica, and Sentinels that fail over once most of them miss the master for a second."""

    def __init__(self, sentinels=1, replicas=1):
        self._sentinels = sentinels
        super().__init__(replicas)

    def _build(self, stack):
        super()._build(stack)
        number = self._sentinels
        servers = [stack.enter_context(Sentinel(self.master.port, number // 2 + 1)) for _ in range(number)]
        self.admins = [
            stack.enter_context(closing(driver.Redis(port=server.port, decode_responses=True))) for server in servers
        ]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{server.port}' for server in servers)}/{SERVICE}/0"
        for admin in self.admins:
            wait(lambda admin=admin: self._knows(admin, len(self.replicas), number - 1), "Sentinel knows everybody")

    @staticmethod
    def _knows(admin, replicas, others):
        known = admin.execute_command("SENTINEL", "MASTER", SERVICE)  # a driver's own ways differ
        if isinstance(known, list):
            known = dict(zip(known[::2], known[1::2], strict=True))
        return (int(known["num-slaves"]), int(known["num-other-sentinels"])) == (replicas, others)

    @staticmethod
    def _named(admin):
        return int(admin.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def wait_for_fail_over(self):
        """Wait until every Sentinel names another master, and that one takes writes."""
        old = self.master.port
        for admin in self.admins:
            wait(lambda admin=admin: self._named(admin) != old, "Sentinel elects")
        port = self._named(self.admins[0])
        (self.master,) = (node for node in self.nodes if node.port == port)
        wait(lambda: self.master.admin.info("replication")["role"] == "master", "it is a master")


class Sentinel(RedisServer):
    """A Sentinel that watches one master."""

    def __init__(self, master_port, quorum):
        self._watched = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        super().__init__(program=program())

    def command(self):
        file = self.directory / "sentinel.conf"
        file.write_text(
            f'bind {self.host}\nport {self.port}\ndir "{self.directory}"\nlogfile "{self._log}"\n{self._watched}'
        )
        return [self._program, str(file), "--sentinel"]


class Cluster(Topology):
    """Masters, each with a replica, on one host.

    Args:
        masters: how many; each gets an equal share of the slots.
        options: of each node's configuration.
    """

    def __init__(self, masters=3, options=None):
        self._masters = masters
        self._options = {
            **REPLICATES,
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-replica-validity-factor": "0",
            **(options or {}),
        }
        super().__init__()

    def _build(self, stack):
        which = program()
        self.nodes = on_free_ports(
            stack, 2 * self._masters, lambda port: Node(RedisServer(self._options, program=which, port=port))
        )
        self._form(self._masters)

    def _form(self, masters):
        first, *others = self.nodes
        for place, node in enumerate(self.nodes):
            node.id = node.admin.cluster("MYID")
            node.admin.cluster("SET-CONFIG-EPOCH", place + 1)
        for node in others:
            first.admin.cluster("MEET", "127.0.0.1", node.port)
        bounds = [SLOTS * place // masters for place in range(masters + 1)]
        for place, node in enumerate(self.nodes[:masters]):
            node.admin.cluster("ADDSLOTSRANGE", bounds[place], bounds[place + 1] - 1)
        everybody = {node.id for node in self.nodes}
        for node in self.nodes:
            wait(lambda node=node: everybody <= set(self._seen(node)), "every node has met every other")
        for master, replica in zip(self.nodes[:masters], self.nodes[masters:], strict=True):
            replica.admin.cluster("REPLICATE", master.id)
        for node in self.nodes:
            wait(lambda node=node: self._agrees(node, masters), "every node agrees")
        for master, replica in zip(self.nodes[:masters], self.nodes[masters:], strict=True):
            wait(lambda master=master, replica=replica: replica.replicates(master.port), "replicas have followed")

    @staticmethod
    def _seen(node):
        """What a node sees of every node, by id."""
        return {seen["node_id"]: seen for seen in node.admin.cluster("NODES").values()}

    def _agrees(self, node, masters):
        seen = self._seen(node).values()
        owners, replicas = sum(bool(one["slots"]) for one in seen), sum("slave" in one["flags"] for one in seen)
        return node.admin.cluster("INFO")["cluster_state"] == "ok" and owners == replicas == masters

    @property
    def url(self):
        """For ``RedisStateStore.from_url``."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def sees_replicas(self, client):
        """Wait until a client lists every replica, so that it finds whom an election makes a master."""

        def lists():
            if len(client.get_replicas()) == len(self.nodes) // 2:
                return True
            client.nodes_manager.initialize()
            return False

        wait(lists, "the client lists the replicas")

    def master_of(self, key):
        """The node that owns a key, as most nodes that answer see it."""
        votes = Counter()
        for node in self.nodes:
            with suppress(driver.RedisError):
                votes[self._owner(self._seen(node), key_slot(key.encode()))] += 1
        ((owner, most),) = votes.most_common(1)
        if owner is None or 2 * most <= votes.total():
            raise LookupError("they do not agree")
        return next(node for node in self.nodes if node.id == owner)

    @staticmethod
    def _owner(seen, slot):
        # A range of slots, or a slot alone; what is on its way stands elsewhere.
        return next(
            (
                one
                for one, node in seen.items()
                for low, *high in node["slots"]
                if int(low) <= slot <= int((high or [low])[0])
            ),
            None,
        )

    def wait_for_fail_over(self, key, old):
        """Wait until another master has taken a key over."""

        def elected():
            try:
                new = self.master_of(key)
            except LookupError:
                return False
            return new is not old and new.admin.info("replication")["role"] == "master"

        wait(elected, "an election is over")

    @contextmanager
    def moving(self, key):
        """A slot on its way to another master: yields ``migrate(keys)``; the move is finished at the end."""
        slot, source = key_slot(key.encode()), self.master_of(key)
        target = next(
            node for node in self.nodes if node is not source and node.admin.info("replication")["role"] == "master"
        )
        target.admin.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.admin.cluster("SETSLOT", slot, "MIGRATING", target.id)

        def migrate(most=None):
            """Move so many of the slot's keys, or all; return how many."""
            keys = source.admin.cluster("GETKEYSINSLOT", slot, SLOTS)
            for name in keys[:most]:
                source.admin.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
            return len(keys[:most])

        yield migrate
        while migrate():
            pass
        for node in (target, source, *self.nodes):
            if node.admin.info("replication")["role"] == "master":
                node.admin.cluster("SETSLOT", slot, "NODE", target.id)
