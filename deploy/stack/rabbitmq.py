"""A private RabbitMQ: its own node name, cookie, port mapper, ports and data.

Frugal, since it shares the machine with the tests that use it: two schedulers at most, no plugins, small
limits.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlencode

from deploy.stack import certificates
from deploy.stack.probes import USER
from deploy.stack.process import Ports
from deploy.stack.server import Server, Spec

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
log.console = true
log.console.level = warning
log.file = false
"""


# RabbitMQ reads memory and disk from /proc. The mount is seen in here only, and goes with the last process.
IN_CHROOT = """\
exec unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$0" "$@"
"""

CONFIG_TLS = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {certificate}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
"""


def prepare(folder: Path, ports: Ports, server: Path, *, chroot: Path | None = None) -> list[Server]:
    """Describe a port mapper and a broker that uses it, in folders inside `folder`; start them in this order.

    `server` is RabbitMQ's own start script `rabbitmq-server` (not a distribution's wrapper, which changes the
    user). With `chroot`, script and Erlang are those of the system in that folder, as it names them, the
    broker's data are in there too, and the caller is root.
    """
    port, epmd_port, node_port = ports.take(), ports.take(), ports.take()
    password = secrets.token_hex(12)
    node = f"trunkline-{secrets.token_hex(4)}"
    home = folder / "rabbitmq"
    home.mkdir(parents=True)
    (folder / "epmd").mkdir()
    data = home if chroot is None else chroot / "srv" / node
    data.mkdir(exist_ok=True)

    def inside(path: Path) -> str:
        return str(path) if chroot is None else f"/{path.relative_to(chroot)}"

    prefix = [] if chroot is None else ["sh", "-c", IN_CHROOT, str(chroot)]
    cookie = data / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(20))
    cookie.chmod(0o400)
    config, tls_url = CONFIG.format(port=port, user=USER, password=password), ""
    tls_port = None
    if made := certificates.make(data):
        certificate, key = made
        tls_port = ports.take()
        config += CONFIG_TLS.format(port=tls_port, certificate=inside(certificate), key=inside(key))
        tls_url = f"amqps://{USER}:{password}@127.0.0.1:{tls_port}/?{urlencode({'ca': str(certificate)})}"
    (data / "rabbitmq.conf").touch(mode=0o600)
    (data / "rabbitmq.conf").write_text(config)
    (data / "enabled_plugins").write_text("[].\n")
    (data / "rabbitmq-env.conf").touch()

    schedulers = min(2, os.cpu_count() or 1)
    env = {
        "PATH": os.pathsep.join([*_erlang_folders(), os.environ.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        "HOME": inside(data),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # Every Erlang machine, the control tool's too, talks on the loopback interface only, and none starts
        # an epmd that would outlive it.
        "ERL_AFLAGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "ERL_MAX_PORTS": "8192",
        "RABBITMQ_NODENAME": f"{node}@localhost",
        "RABBITMQ_DIST_PORT": str(node_port),
        "RABBITMQ_CONF_ENV_FILE": inside(data / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": inside(data / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": inside(data / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": inside(data / "enabled_plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": inside(data / "generated"),
        "RABBITMQ_MNESIA_BASE": inside(data / "data"),
        "RABBITMQ_LOG_BASE": inside(data / "log"),
        # With it the script becomes the Erlang machine instead of waiting for it: one process, one pid. Input
        # is then refused by the flag below.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            # A start reads hundreds of small files, each a hand-over between threads. Looking around a moment
            # before falling asleep more than halves its time (6 s to 2.5 s, measured on two cores).
            f"-noinput +S {schedulers}:{schedulers} +sbwt very_short +sbwtdio very_short +stbt u"
        ),
    }
    epmd = Server.create(
        folder / "epmd",
        Spec(
            name="epmd",
            url=f"tcp://127.0.0.1:{epmd_port}",
            port=epmd_port,
            password="",
            probe="epmd",
            argv=[*prefix, "epmd", "-port", str(epmd_port), "-address", "127.0.0.1"],
            env=env,
        ),
    )
    broker = Server.create(
        home,
        Spec(
            name="rabbitmq",
            url=f"amqp://{USER}:{password}@127.0.0.1:{port}/",
            tls_url=tls_url,
            tls_port=tls_port,
            port=port,
            password=password,
            probe="amqp",
            argv=[*prefix, str(server)],
            env=env,
            ctl=[*prefix, str(server.with_name("rabbitmqctl"))],
            data=[] if chroot is None else [str(data)],
        ),
    )
    return [epmd, broker]


def _erlang_folders() -> list[str]:
    # Homebrew's folders, Intel's and Apple's, are missing from the PATH of many a shell.
    return [folder for folder in ("/opt/homebrew/bin", "/usr/local/bin") if Path(folder, "erl").exists()]
