"""A private Redis: nothing is written to disk, and nobody without its password is served."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from deploy.stack.process import Ports
from deploy.stack.server import Server, Spec

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
save ""
appendonly no
daemonize no
databases 16
maxmemory 512mb
dir {folder}
"""


def prepare(folder: Path, ports: Ports, server: Path) -> Server:
    """Describe a Redis in a folder inside `folder`."""
    port, password = ports.take(), secrets.token_hex(12)
    home = folder / "redis"
    home.mkdir(parents=True)
    config = home / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, password=password, folder=home))
    env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "REDISCLI_AUTH": password}
    client = server.with_name("redis-cli")
    return Server.create(
        home,
        Spec(
            name="redis",
            url=f"redis://:{password}@127.0.0.1:{port}/0",
            port=port,
            password=password,
            probe="redis",
            argv=[str(server), str(config)],
            env=env,
            ctl=[str(client), "-h", "127.0.0.1", "-p", str(port)],
        ),
    )
