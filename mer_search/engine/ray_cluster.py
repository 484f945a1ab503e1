"""How this process joins a Ray cluster, or starts one, and leaves it; nothing of Ray's own output is shown."""

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
import ray._private.worker as ray_worker
from ray._private.utils import read_ray_address
from ray.exceptions import RayError

from mer_search.errors import MerSearchError
from mer_search.processes import shielded

SETTINGS = {  # environment variables, unless they are set
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that this will be the default
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "6",  # of the second and the third attempt; the first one has 5 seconds
}


def connect(address: str) -> bool:
    """Join the cluster at "ray://HOST:PORT", or for "" that of RAY_ADDRESS, else the one that `ray start` has started
    on this machine, else a new one that ends with this process. False, and nothing is done, if the caller has connected
    before; MerSearchError if the cluster does not answer."""
    if ray.is_initialized():
        return False
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.util.client.logsclient").disabled = True  # it does not ask the other one
    address = address or os.environ.get("RAY_ADDRESS", "")
    options: dict[str, Any] = {} if address.startswith("ray://") else {"include_dashboard": False}
    try:
        _knock(address)
        with warnings.catch_warnings(action="ignore"), shielded(), _undisturbed():
            _init(address or None, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError and Ray's own
        with suppress(Exception):
            ray.shutdown()
        raise MerSearchError(
            f"the Ray cluster {f'at {address}' if address else 'of this machine'} must answer, but does not "
            f"({first_line(error)}); check its name, start it with `ray start --head`, forget one that has ended with "
            "`ray stop`, and set RAY_AUTH_MODE=token if it asks for a token"
        ) from error
    ray_worker.print_to_stdstream = lambda *_, **__: None  # nothing else keeps Ray from printing which workers died
    return True


def _init(*args: Any, **options: Any) -> None:
    """`ray.init`, again where the server of this client dies as it is forked, as happens with gRPC."""
    for attempts_left in (2, 1, 0):
        try:
            ray.init(*args, **options)
            return
        except ConnectionAbortedError:
            ray.shutdown()
            if not attempts_left:
                raise


def _knock(address: str) -> None:
    """Raise an OSError soon if a cluster is not there; Ray would try for minutes."""
    host, colon, port = (address.removeprefix("ray://") or read_ray_address() or "").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def head_answers() -> bool:
    """Whether the cluster's head is there. Ray's own calls wait for it for a minute, and then end this process. (A Ray
    client, which has no node, finds out by itself.)"""
    try:
        _knock(ray_worker._global_node.gcs_address if ray_worker._global_node else "auto")
    except OSError:
        return False
    return True


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces, and what Ray's C++ tells of its attempts off the terminal."""
    handler, kept, nowhere = signal.getsignal(signal.SIGTERM), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def disconnect() -> None:
    """Leave the cluster, and end it at once if it was started here: `ray.shutdown` alone gives each of its processes a
    second to end after a SIGTERM, which these do not hear (see `shielded`), and leaves those that they have started."""
    node = ray_worker._global_node
    if node is not None and node.all_processes:
        import psutil  # Ray brings it along

        ours = [psutil.Process(one.process.pid) for kind in node.all_processes.values() for one in kind]
        ours += [child for process in ours for child in process.children(recursive=True)]
        end = node.kill_all_processes

        def kill_all_processes(**_: object) -> None:
            for process in ours:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            end(check_alive=False)

        node.kill_all_processes = kill_all_processes
    ray.shutdown()


@contextmanager
def answering() -> Iterator[None]:
    """Tell in one line of a cluster that does not answer any more."""
    try:
        yield
    except (RayError, ConnectionError) as error:
        raise MerSearchError(
            f"the Ray cluster must answer, but does not any more ({first_line(error)}); when it does again, the same "
            "command goes on"
        ) from error


def first_line(error: Exception) -> str:
    """The beginning of an error's message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
