"""The beginning and the end of the UI: its port, that it is the only one over a history, and that nothing stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from interface import ROOT, Interface, lives, wait_until

from benchmarks.processes import descendants
from data.errors import InputError
from pipelines import ui

HERE = (socket.AF_INET, "127.0.0.1")
PROGRAMS = (b"pipelines.server", b"dagster._daemon", b"code-server", b"api\0grpc")


@pytest.fixture
def interface(tmp_path: Path) -> Iterator[Interface]:
    started = Interface(tmp_path)
    try:
        yield started
    finally:
        started.end()


def run_ui(storage: Path, port: int) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ISOLATION_STORAGE": str(storage)}
    command = [sys.executable, "-m", "pipelines.ui", "--port", str(port)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("family", "address"), [HERE, (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
)
def test_a_port_that_another_program_has_is_refused(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as other:
        try:
            other.bind((address, 0))
        except OSError:
            pytest.skip("this machine has no such addresses")
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}") as refused, ui._listener(port):
            pass
    assert "another program" in refused.value.found
    assert "make ui PORT=" in refused.value.remedy
    assert "--port" in refused.value.remedy
    with ui._listener(port) as listener:  # which is free now, at once
        assert listener.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_numbers_that_are_no_port_are_refused(port: int) -> None:
    with pytest.raises(InputError, match="from 0 to 65535"), ui._listener(port):
        pass


def test_a_port_that_the_system_does_not_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipelines.ui.socket.socket", Denied)
    with pytest.raises(InputError, match="this user may listen on"), ui._listener(80):
        pass


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run_ui(tmp_path / "storage", port)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"port {port}\n")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "storage" / "dagster").exists()


def test_a_second_ui_over_a_history_is_refused_and_told_where_the_first_is(tmp_path: Path) -> None:
    home = tmp_path / "storage" / "dagster"
    with ui._listener(0) as listener, ui._only_one(home, listener):
        ended = run_ui(tmp_path / "storage", 0)
        assert ended.returncode == 2
        assert f"http://127.0.0.1:{listener.getsockname()[1]}, process {os.getpid()}" in ended.stderr
    with ui._listener(0) as listener, ui._only_one(home, listener):
        pass  # the first has ended


def test_sigterm_ends_everything_and_cancels_the_runs_that_are_going_on(interface: Interface) -> None:
    interface.wait_until(lambda: interface.repository() is not None)
    run = interface.train()
    interface.wait_until(lambda: interface.step() >= 4)
    processes = descendants(interface.process.pid)
    commands = [Path(f"/proc/{each}/cmdline").read_bytes() for each in processes]
    assert all(any(program in command for command in commands) for program in PROGRAMS)
    interface.process.send_signal(signal.SIGTERM)
    assert interface.process.wait(200) == 0, interface.log.read_text()
    wait_until(lambda: not any(lives(each) for each in processes))
    assert b"Runs that are going on are cancelled" in interface.log.read_bytes()
    with dg.DagsterInstance.from_config(str(interface.storage / "dagster")) as instance:
        found = instance.get_run_by_id(run)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.CANCELED
    assert interface.step() >= 4  # a next training goes on there


def test_a_sigint_that_the_shell_had_ignored_ends_everything(interface: Interface) -> None:
    interface.wait_until(lambda: interface.repository() is not None)
    processes = descendants(interface.process.pid)
    interface.process.send_signal(signal.SIGINT)
    assert interface.process.wait(200) == 0, interface.log.read_text()
    wait_until(lambda: not any(lives(each) for each in processes))


def test_a_killed_ui_leaves_nothing_behind(interface: Interface) -> None:
    interface.wait_until(lambda: interface.repository() is not None)
    processes = descendants(interface.process.pid)
    assert len(processes) >= 5
    interface.process.kill()
    interface.process.wait()
    wait_until(lambda: not any(lives(each) for each in processes))
