"""Real host processes with a fake engine: double start, what a killed host leaves, signals, idle exit, tokens, hostile folders."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from engine.api import InfillRequest, InfillResult, Status
from engine.models import store
from engine.serve import address

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets and signals")


def client(where):
    transport = httpx.HTTPTransport(uds=where.socket) if where.socket else None
    headers = {"Authorization": f"Bearer {where.token}"} if where.token else {}
    return httpx.Client(transport=transport, base_url=where.url or "http://engine", headers=headers, trust_env=False, timeout=5)


def healthz(where):
    with client(where) as http:
        return http.get("/healthz").json()


def wait_until_ready(where):
    with client(where) as http, http.stream("GET", "/v1/status") as response:
        for line in response.iter_lines():
            if msgspec.json.decode(line, type=Status).state == "ready":
                return


def infill(where, prefix):
    with client(where) as http:
        response = http.post("/v1/infill", content=msgspec.json.encode(InfillRequest(prefix=prefix)))
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=InfillResult)


def test_a_double_start_leaves_one_host(hosts):
    first, second = hosts.start(), hosts.start()
    addresses = {hosts.answer(first), hosts.answer(second)}
    assert len({a.socket for a in addresses}) == len({a.pid for a in addresses}) == 1
    pid = addresses.pop().pid
    loser = second if pid == first.pid else first
    assert pid in (first.pid, second.pid)
    assert loser.wait(5) == 0
    assert loser.stderr.read() == b""
    where = hosts.answer(third) if (third := hosts.start()) else None
    assert healthz(where)["pid"] == pid
    assert [host.pid for host in address.running_hosts()] == [pid]


def test_it_answers_before_loading_and_serves_afterwards(hosts, runtime):
    (hosts.folder / "load_seconds").write_text("0.5")
    began = time.monotonic()
    where = hosts.answer(hosts.start())
    said = healthz(where)
    assert time.monotonic() - began < 5
    assert said["pid"] == where.pid
    assert said["key"] == hosts.config().key
    wait_until_ready(where)
    assert infill(where, "hello").text == "hello"
    assert stat.S_IMODE(os.stat(where.socket).st_mode) == 0o600
    assert stat.S_IMODE((runtime / "dlsp").stat().st_mode) == 0o700
    log = Path(where.log)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "hello" not in log.read_text()
    assert os.readlink(f"/proc/{where.pid}/cwd") == "/" if sys.platform == "linux" else True


def test_what_a_killed_host_leaves_is_no_obstacle(hosts):
    first = hosts.start()
    where = hosts.answer(first)
    first.kill()
    first.wait()
    assert Path(where.socket).exists()
    again = hosts.answer(hosts.start())
    assert again.socket == where.socket
    assert again.pid != where.pid
    assert healthz(again)["pid"] == again.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_even_while_it_works_and_is_watched(hosts, number):
    process = hosts.start()
    where = hosts.answer(process)
    wait_until_ready(where)
    body = msgspec.json.encode(InfillRequest(prefix="sleep 30"))
    with client(where) as http, http.stream("GET", "/v1/status") as response, socket.socket(socket.AF_UNIX) as worker:
        lines = response.iter_lines()
        next(lines)
        worker.connect(where.socket)
        worker.sendall(b"POST /v1/infill HTTP/1.1\r\nHost: engine\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        while msgspec.json.decode(next(lines), type=Status).state != "busy":
            pass
        process.send_signal(number)
        rest = [msgspec.json.decode(line, type=Status) for line in lines]
    assert process.wait(5) == 0
    assert (rest[-1].state, rest[-1].reason) == ("idle", "stopped")
    assert not Path(where.socket).exists()
    assert address.running_hosts() == []


def test_it_leaves_when_nobody_needs_it_any_more(hosts):
    process = hosts.start(config=hosts.config(idle_exit_seconds=1.5))
    where = hosts.answer(process)
    with client(where) as http, http.stream("GET", "/v1/status") as response:
        lines = response.iter_lines()
        next(lines)
        time.sleep(2.0)
        assert process.poll() is None
    left = time.monotonic()
    assert process.wait(15) == 0
    assert time.monotonic() - left > 1.2
    assert not Path(where.socket).exists()


def test_a_host_whose_folder_was_emptied_leaves_what_its_successor_has(hosts, runtime):
    first = hosts.start()
    where = hosts.answer(first)
    shutil.rmtree(runtime / "dlsp")
    second = hosts.answer(hosts.start())
    assert second.pid != where.pid
    assert second.socket == where.socket
    first.terminate()
    assert first.wait(5) == 0
    assert [host.pid for host in address.running_hosts()] == [second.pid]
    assert healthz(second)["pid"] == second.pid


@pytest.mark.parametrize("lost", ["sock", "lock"])
def test_a_host_that_nobody_finds_any_more_leaves(hosts, runtime, lost):
    (hosts.folder / "tick_seconds").write_text("0.1")
    process = hosts.start()
    where = hosts.answer(process)
    wait_until_ready(where)
    with client(where) as http, http.stream("GET", "/v1/status") as response:
        lines = response.iter_lines()
        next(lines)
        Path(where.socket).with_suffix(f".{lost}").unlink()
        rest = [msgspec.json.decode(line, type=Status) for line in lines]
    assert (rest[-1].state, rest[-1].reason) == ("idle", "stopped")
    assert process.wait(5) == 0


def test_a_host_whose_model_was_replaced_makes_room_once_it_is_done(hosts, runtime, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("DLSP_FAKE_MODEL", str(hosts.folder))
    (hosts.folder / "tick_seconds").write_text("0.1")
    config = hosts.config(model="adapted/mine")
    put("a" * 40)
    first = hosts.start(config=config)
    where = hosts.answer(first)
    wait_until_ready(where)
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(infill, where, "sleep 1")
        while "start sleep 1" not in hosts.notes():
            time.sleep(0.01)
        put("b" * 40)
        second = hosts.answer(hosts.start(config=config))
        assert second.pid != where.pid
        assert second.socket != where.socket
        assert answer.result().text == "sleep 1"
    assert first.wait(5) == 0
    assert time.monotonic() - began > 1
    assert [host.pid for host in address.running_hosts()] == [second.pid]


def put(commit):
    """A pulled revision of `adapted/mine`, later than those before."""
    folder = store.place("adapted/mine", commit, store.default_root())
    folder.mkdir(parents=True)
    store.write(folder, store.Manifest(id="adapted/mine", revision=commit, commit=commit, files=(), pulled=time.time()))


def test_no_log_at_all_is_no_obstacle(hosts, runtime, monkeypatch):
    (hosts.folder / "log").write_text("/dev/full/engine.log")
    where = hosts.answer(hosts.start())
    assert where.log == "/dev/full/engine.log"
    wait_until_ready(where)
    assert infill(where, "hello").text == "hello"


def test_loopback_tcp_asks_for_the_token(hosts):
    process = hosts.start("--transport", "tcp")
    where = hosts.answer(process)
    assert healthz(where)["pid"] == where.pid
    with httpx.Client(base_url=where.url, trust_env=False) as stranger:
        assert stranger.get("/healthz").status_code == 401
        assert stranger.post("/v1/infill", content=b"{}").status_code == 401
        assert stranger.get("/v1/status").status_code == 401
    second = hosts.answer(hosts.start("--transport", "tcp"))
    assert (second.url, second.token, second.pid) == (where.url, where.token, where.pid)
    record = next(Path(os.environ["XDG_RUNTIME_DIR"], "dlsp").glob("*.json"))
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


def test_an_untrustworthy_folder_is_one_sentence_and_status_2(hosts, runtime):
    (runtime / "dlsp").mkdir()
    (runtime / "dlsp").chmod(0o777)
    process = hosts.start()
    answer = hosts.answer(process)
    assert answer.type == "PlaceError"
    assert "Other users have access" in answer.message
    assert "chmod" in answer.action
    assert process.wait(5) == 2
    assert process.stderr.read() == b""


def test_a_lock_whose_holder_does_not_answer_is_reported(runtime, hosts, monkeypatch):
    from engine.errors import HostError
    from engine.serve import host

    monkeypatch.setattr(host, "_PEER_PATIENCE_SECONDS", 0.1)
    place = address.find_place(hosts.config())
    lock = address.take_lock(place.lock)
    with pytest.raises(HostError, match=r"another process holds its lock .*dlsp engine --stop"):
        host.run_host(host.HostOptions(config=hosts.config()), lambda *_: None)
    os.close(lock)


def test_a_nonsense_configuration_is_reported(hosts):
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.serve.host", "--config", '{"threads": "many"}'],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    hosts.processes.append(process)
    answer = hosts.answer(process)
    assert (answer.type, process.wait(5)) == ("ConfigError", 2)


def test_the_process_survives_a_broken_request(hosts):
    where = hosts.answer(hosts.start())
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(where.socket)
        raw.sendall(b"\x00\xff not http\r\n\r\n")
        raw.recv(1000)
    wait_until_ready(where)
    with client(where) as http:
        failed = http.post("/v1/infill", content=msgspec.json.encode(InfillRequest(prefix="fail my secret text")))
    assert failed.status_code == 500
    assert infill(where, "next").text == "next"
    log = Path(where.log).read_text()
    assert "ValueError" in log
    assert "secret" not in log


def test_a_running_host_opens_a_door_for_as_long_as_somebody_holds_it(hosts):
    process = hosts.start(config=hosts.config(idle_exit_seconds=1.5))
    where = hosts.answer(process)
    with client(where) as http, http.stream("POST", "/v1/door", json={"port": 0}) as response:
        lines = response.iter_lines()
        url = msgspec.json.decode(next(lines))["url"]
        while msgspec.json.decode(next(lines), type=Status).state != "ready":
            pass
        (record,) = address.running_hosts()
        assert record.doors == (url,)
        assert record.pid == where.pid
        with httpx.Client(base_url=url, trust_env=False) as tool:
            assert tool.get("/healthz").json()["pid"] == where.pid
            said = tool.post("/infill", json={"prompt": "hello", "n_predict": 4}).json()
            assert said["content"] == "hello"
            assert tool.post("/v1/door", json={"port": 0}).status_code == 404
        refused = http.post("/v1/door", json={"port": int(url.rpartition(":")[2])})
        assert refused.status_code == 409
        assert f"answers at {url} already" in refused.json()["message"]
        open_to_all = http.post("/v1/door", json={"host": "0.0.0.0", "port": 0})
        assert open_to_all.status_code == 409
        assert "needs a token" in open_to_all.json()["message"]
        assert http.post("/v1/door", json={"port": "x"}).status_code == 400
        assert http.post("/v1/door", content=b'{"host": "\xff"}').status_code == 400
        assert http.post("/v1/door", content=b" " * 5_000_000).status_code == 413
        time.sleep(1.0)
        assert process.poll() is None
    assert process.wait(15) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", trust_env=False)
