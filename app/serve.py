"""The app's server: Streamlit in this process, until Ctrl-C."""

import errno
import importlib
import importlib.metadata
import os
import signal
import socket
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..models.errors import HeadscopeError

STUDIES = "HEADSCOPE_STUDIES"
"""Environment variable that tells the app which studies it was opened with, as in PATH; it begins
with the first."""

FACTORY = "HEADSCOPE_FACTORY"
"""Environment variable that tells the app which code it may run to make a study's checkpoint."""

FIRST_PORT = 8501
_PORTS_TRIED = 50

_FIRST = ("pandas", ".figures.atlas", "plotly.graph_objects", "..analysis.study")
_LATER = ("timm", "..models.loading", "..analysis.maps", "..analysis.analyze")

_EVERYONE = ("0.0.0.0", "::", "")


def serve(
    *, studies: Sequence[Path], factory: str | None, host: str, port: int | None, browser: bool
) -> None:
    """Serve the app until Ctrl-C; the address is printed once the page can be opened.

    Raises:
        HeadscopeError: the study does not open, or the address cannot be used.
    """
    if studies:
        from ..analysis.study import open_study
        from .studies import samples

        coming = samples()
        studies = [coming.get(str(study), study) for study in studies]
        for study in studies:
            open_study(study)
        os.environ[STUDIES] = os.pathsep.join(str(study.resolve()) for study in studies)
    if factory is not None:
        from ..models.factory import absolute

        os.environ[FACTORY] = absolute(factory)
    address = _free_address(host, port)
    flags = _flags(*address, browser=browser)
    # Streamlit comes last: a wrong study or port is told before its second of import.
    from streamlit.web import bootstrap

    signal.signal(signal.SIGINT, _stop_at_once)
    threading.Thread(target=_announce, args=address, daemon=True).start()
    # In the order in which a page needs it; a study's page shows its numbers without torch.
    heavy = _FIRST if studies else (*_FIRST, *_LATER)
    threading.Thread(target=_warm_up, args=(heavy,), daemon=True).start()
    bootstrap.load_config_options(flags)
    bootstrap.run(str(_folder() / "main.py"), False, [], flags)  # noqa: FBT003


def _stop_at_once(*_: object) -> None:
    """Ctrl-C until the server runs and takes it over: Streamlit cannot stop half started."""
    os.write(2, b"headscope: stopped.\n")
    os._exit(130)


def _folder() -> Path:
    return Path(__file__).parent


def _flags(host: str, port: int, *, browser: bool) -> dict[str, Any]:
    """Streamlit's options: ours over those in `.streamlit/config.toml` beside the app.

    `streamlit run` finds that file by itself, a server started from here does not.
    """
    config = _folder() / ".streamlit" / "config.toml"
    flags = dict(_flat(tomllib.loads(config.read_text())))
    flags |= {
        "server.address": host,
        "server.port": port,
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
    }
    if host not in _EVERYONE:
        # A page elsewhere could reach this one under a name of its own (DNS rebinding).
        flags["server.allowedHosts"] = [host, "localhost"]
    if not browser:
        flags["server.headless"] = True
    return {name.replace(".", "_"): value for name, value in flags.items()}


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _free_address(host: str, port: int | None) -> tuple[str, int]:
    """The host with the given port, or with the first free one from 8501 on."""
    if port is not None:
        if not _is_free(host, port):
            raise HeadscopeError(
                f"Port {port} of {host} is in use: give another one, such as "
                f"--port {_first_free(host, port + 1)}, or leave --port out."
            )
        return host, port
    port = _first_free(host, FIRST_PORT)
    if port != FIRST_PORT:
        print(f"Port {FIRST_PORT} is in use, taking {port}.")
    return host, port


def _first_free(host: str, start: int) -> int:
    last = min(start + _PORTS_TRIED, 65_535)
    for port in range(start, last + 1):
        if _is_free(host, port):
            return port
    raise HeadscopeError(f"No port from {start} to {last} of {host} is free: give one with --port.")


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, *_, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            if os.name == "posix":  # as the server does: a port just left is free again
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        reason = error.strerror or error
        raise HeadscopeError(
            f"Cannot listen on {host}, port {port} ({reason}): 127.0.0.1 serves this computer, "
            "0.0.0.0 the network."
        ) from error
    return True


def _announce(host: str, port: int) -> None:
    """Print the address once the server answers."""
    reachable = "127.0.0.1" if host in _EVERYONE else host
    deadline = time.monotonic() + 60
    while not _is_healthy(_bracketed(reachable), port):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    shown = _bracketed(socket.gethostname() if host in _EVERYONE else host)
    version = importlib.metadata.version("headscope")
    print(f"headscope {version} is at http://{shown}:{port}  (Ctrl-C stops it)", flush=True)
    if host in _EVERYONE:
        print("Everyone who reaches this computer over the network can use it.", flush=True)


def _is_healthy(host: str, port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/_stcore/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _warm_up(names: Sequence[str]) -> None:
    """Import what takes longest while the browser opens: the page waits for less."""
    for name in names:
        importlib.import_module(name, __package__)
