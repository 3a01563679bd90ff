"""Private RabbitMQ, Redis and PostgreSQL servers: the test stack, which bench uses too.

    with stack.running(["rabbitmq"]) as servers:       # or under `python -m deploy.stack run -- COMMAND`:
        servers = Stack.attached()[0]
    broker = servers["rabbitmq"]
    broker.kill(); broker.start(); broker.pause(); broker.resume(); broker.control("list_queues")

The programs are found on the machine, or installed (`deploy.stack.locate`); every instance has ports, data,
and for Erlang a node name, a cookie and a port mapper of its own, so that any number of stacks run beside
each other and beside the machine's own servers.
"""

from __future__ import annotations

from deploy.stack.server import Server, StackError
from deploy.stack.stack import Stack, copies, running, several

__all__ = ["Server", "Stack", "StackError", "copies", "running", "several"]
