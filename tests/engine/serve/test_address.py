"""The runtime folder, the lock, the socket and the records: who may use them, and what others left behind."""

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.errors import PlaceError
from engine.serve import address

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="mode bits and Unix sockets")


def test_the_folder_is_made_private(runtime):
    folder = address.runtime_folder()
    assert folder == runtime / "dlsp"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert address.runtime_folder() == folder


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_open_to_others_is_refused(runtime, mode):
    (runtime / "dlsp").mkdir()
    (runtime / "dlsp").chmod(mode)
    with pytest.raises(PlaceError, match=r"Other users have access to .*dlsp \(mode 7.*chmod go-rwx"):
        address.runtime_folder()


def test_a_folder_of_somebody_else_is_refused(runtime, monkeypatch):
    folder = runtime / "dlsp"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(address, "_candidates", lambda: [folder])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PlaceError, match=rf"{folder} belongs to another user \(id {os.getuid()}\)"):
        address.runtime_folder()


def test_a_link_is_no_folder(runtime, tmp_path):
    (runtime / "dlsp").symlink_to(tmp_path)
    with pytest.raises(PlaceError, match="neither a folder nor a socket"):
        address.runtime_folder()


def test_a_file_in_the_way_is_named(runtime):
    (runtime / "dlsp").write_text("")
    with pytest.raises(PlaceError, match="it is not a folder"):
        address.runtime_folder()


def test_a_path_too_long_for_a_socket_falls_back_to_a_shorter_folder(runtime, monkeypatch):
    short = runtime / "s"
    monkeypatch.setattr(address, "_candidates", lambda: [runtime / ("long" * 30), short])
    assert address.find_place(EngineConfig()).folder == short
    monkeypatch.setattr(address, "_candidates", lambda: [runtime / ("long" * 30)])
    with pytest.raises(PlaceError, match=r"no usable folder .*longlong.*XDG_RUNTIME_DIR"):
        address.find_place(EngineConfig())


def test_without_a_runtime_directory_there_is_still_a_private_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for candidate in address._candidates():
        assert candidate.is_absolute()
        assert str(os.geteuid()) in str(candidate)


def test_configurations_that_differ_do_not_share_a_place(runtime):
    first = address.find_place(EngineConfig())
    assert first == address.find_place(EngineConfig(idle_exit_seconds=1))
    assert first.socket != address.find_place(EngineConfig(device="cpu")).socket
    assert first.socket.name.startswith(EngineConfig().key)


def test_a_name_that_means_other_weights_now_has_another_host(runtime, monkeypatch):
    config = EngineConfig(model="adapted/mine")
    places = []
    for pulled in (None, Path("/models/adapted--mine/a"), Path("/models/adapted--mine/b")):
        monkeypatch.setattr(address.store, "locate", lambda name, pulled=pulled: pulled if name == "adapted/mine" else None)
        places.append(address.find_place(config))
        assert places[-1] == address.find_place(config)
        assert len(places[-1].name) == len(address.find_place(EngineConfig()).name)
    assert len({place.name for place in places}) == 3
    assert address.find_place(EngineConfig(model=f"{config.model}@a")) not in places


def test_the_lock_is_exclusive_until_closed(runtime):
    path = address.find_place(EngineConfig()).lock
    assert not address.lock_is_held(path)
    lock = address.take_lock(path)
    assert lock is not None
    assert address.take_lock(path) is None
    assert address.lock_is_held(path)
    os.close(lock)
    assert not address.lock_is_held(path)


def test_a_stale_socket_and_record_are_replaced(runtime):
    place = address.find_place(EngineConfig())
    for _ in range(2):
        listener, where = address.open_socket(place)
        listener.listen()
        assert not place.record.exists()
        address.write_record(place, EngineConfig(), where)
        assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.record.stat().st_mode) == 0o600
        assert address.accepts(where)
        listener.close()
        assert place.socket.exists()
        assert not address.accepts(where)


def test_what_is_not_our_socket_is_not_removed(runtime, monkeypatch):
    place = address.find_place(EngineConfig())
    place.socket.write_text("precious")
    with pytest.raises(PlaceError, match="neither a folder nor a socket"):
        address.open_socket(place)
    assert place.socket.read_text() == "precious"


def test_a_socket_of_somebody_else_is_neither_used_nor_removed(runtime, monkeypatch):
    place = address.find_place(EngineConfig())
    listener, where = address.open_socket(place)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PlaceError, match="belongs to another user"):
        address.accepts(where)
    with pytest.raises(PlaceError, match="belongs to another user"):
        address.open_socket(place)
    assert place.socket.exists()
    listener.close()


def test_loopback_tcp_has_a_token_and_no_socket_file(runtime):
    place = address.find_place(EngineConfig())
    listener, where = address.open_socket(place, "tcp")
    assert where.url.startswith("http://127.0.0.1:")
    assert len(where.token) >= 32
    assert not place.socket.exists()
    assert not address.accepts(where)
    listener.listen()
    assert address.accepts(where)
    listener.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}'])
def test_a_broken_record_is_no_record(runtime, content):
    path = address.find_place(EngineConfig()).record
    path.write_bytes(content)
    assert address.read_record(path) is None
    assert address.running_hosts() == []


def test_a_host_of_another_version_is_listed_though_we_could_not_serve_what_it_serves(runtime):
    lock_of, record_of = runtime / "dlsp" / "newer.lock", runtime / "dlsp" / "newer.json"
    address.runtime_folder()
    record_of.write_text(
        '{"pid": 7, "config": {"model": "m", "device": "xpu", "dtype": "fp4"}, "address": {"socket": "s"}, "started": 1.0}'
    )
    assert address.running_hosts() == []
    lock = address.take_lock(lock_of)
    (host,) = address.running_hosts()
    assert (host.pid, host.config.model, host.config.device, host.config.dtype) == (7, "m", "xpu", "fp4")
    os.close(lock)


def test_a_lock_whose_file_was_removed_or_replaced_is_nobodys(runtime):
    place = address.find_place(EngineConfig())
    lock = address.take_lock(place.lock)
    assert address.is_lock_of(place, lock)
    place.lock.unlink()
    assert not address.is_lock_of(place, lock)
    other = address.take_lock(place.lock)
    assert address.is_lock_of(place, other)
    assert not address.is_lock_of(place, lock)
    os.close(lock)
    os.close(other)


def test_only_hosts_that_hold_their_lock_are_running(runtime):
    place = address.find_place(EngineConfig())
    listener, where = address.open_socket(place)
    address.write_record(place, EngineConfig(), where)
    assert address.running_hosts() == []
    lock = address.take_lock(place.lock)
    assert [host.pid for host in address.running_hosts()] == [os.getpid()]
    os.close(lock)
    listener.close()


def test_a_long_log_starts_anew(runtime):
    place = address.find_place(EngineConfig())
    path = address.log_file(place)
    path.write_bytes(b"x" * 1000)
    assert address.log_file(place).stat().st_size == 1000
    path.write_bytes(b"x" * 1_000_001)
    assert not address.log_file(place).exists()


def test_no_log_folder_is_no_obstacle(runtime, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    place = address.find_place(EngineConfig())
    assert address.log_file(place).parent == place.folder


@pytest.mark.parametrize("which", ["open", "stat"])
def test_a_log_folder_of_somebody_else_is_no_obstacle(runtime, monkeypatch, which):
    place = address.find_place(EngineConfig())
    theirs = address.log_file(place)

    def refuse(really):
        def call(path, *arguments, **facts):
            if str(path) == str(theirs):
                raise PermissionError(13, "Permission denied", str(path))
            return really(path, *arguments, **facts)

        return call

    monkeypatch.setattr(os, which, refuse(getattr(os, which)))
    path = address.log_file(place)
    assert path == (place.folder / theirs.name if which == "open" else theirs)
    os.close(address.open_log(path))


def test_a_socket_name_fits_with_room_for_the_version():
    assert len(str(Path("/run/user/1000000/dlsp") / f"{EngineConfig().key}-10.10.10.dev1000+gabcdef.sock")) < address._LONGEST_SOCKET_PATH
    assert hasattr(socket, "AF_UNIX")
