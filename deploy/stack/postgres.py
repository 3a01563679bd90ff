"""A private PostgreSQL: a cluster of its own, on TCP only, and never run by root.

Its settings are those of a real installation where they decide what is durable (fsync stays on), since tests
kill it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from deploy.stack.probes import DATABASE, USER
from deploy.stack.process import Ports
from deploy.stack.server import Server, Spec, StackError

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # its path may be 107 bytes long: a temporary folder's can exceed it
    "shared_buffers": "64MB",
    "max_connections": "60",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


def prepare(folder: Path, ports: Ports, bin_folder: Path) -> Server:
    """Make a cluster with one user and one database in a folder inside `folder`, and describe its server."""
    port, password = ports.take(), secrets.token_hex(12)
    home = folder / "postgres"
    home.mkdir(parents=True)
    data = home / "data"
    user = _unprivileged_user()
    env = {
        "PATH": os.pathsep.join([str(bin_folder), os.environ.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "PGPASSWORD": password,
        "PGTZ": "UTC",
    }
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        shutil.chown(home, user)
        shutil.chown(secret, user)
    _run(
        [
            str(bin_folder / "initdb"),
            "-D",
            str(data),
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ],
        env=env,
        user=user,
        cwd=home,
    )
    secret.unlink()
    settings = {**SETTINGS, "port": str(port)}
    lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
    with (data / "postgresql.conf").open("a") as config:
        config.writelines(lines)
    # The database can be made by a server without network: no client is served before everything is there.
    single = [str(bin_folder / "postgres"), "--single", "-D", str(data), "postgres"]
    _run(single, env=env, user=user, cwd=home, said=f"CREATE DATABASE {DATABASE}\n")
    return Server.create(
        home,
        Spec(
            name="postgres",
            url=f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}",
            port=port,
            password=password,
            probe="postgres",
            argv=[str(bin_folder / "postgres"), "-D", str(data)],
            env=env,
            user=user,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
            ctl=[
                str(bin_folder / "psql"),
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
                "-U",
                USER,
                "-d",
                DATABASE,
                "-XAtq",
            ],
        ),
    )


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise StackError(
        "PostgreSQL refuses to be run by root, and there is neither a user postgres nor a user nobody"
    )


def _run(argv: list[str], *, env: dict[str, str], user: str | None, cwd: Path, said: str = "") -> None:
    group = None if user is None else pwd.getpwnam(user).pw_gid
    done = subprocess.run(
        argv,
        env=env,
        input=said,
        capture_output=True,
        text=True,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        cwd=cwd,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"{argv[0]} failed:\n{done.stdout}{done.stderr}")
