"""A certificate for servers on 127.0.0.1. It signs itself: clients trust it as the authority too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def make(folder: Path) -> tuple[Path, Path] | None:
    """Write certificate and key (PEM) into the folder, good for two days; None where there is no openssl."""
    if shutil.which("openssl") is None:
        return None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    key.touch(mode=0o600)
    # Options in a file: not every openssl (macOS has LibreSSL) takes extensions on its command line.
    options = folder / "certificate.cnf"
    options.write_text(
        "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n"
        "[name]\nCN = localhost\n"
        "[extensions]\nsubjectAltName = IP:127.0.0.1, DNS:localhost\nbasicConstraints = critical, CA:TRUE\n"
        "keyUsage = critical, digitalSignature, keyCertSign\n"
    )
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config {options.name} -keyout {key.name}"
        f" -out {certificate.name}".split(),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return certificate, key
