"""Downloads from a server on this machine that breaks off, lies and sends evil archives."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import ssl
import tarfile
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lrnet_edu.data import fetch
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.fetch import MD5, fetch_task
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock

NAME = "Task04_Hippocampus"
LISTING = b'{"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}'


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A task with one case, and what is added to it."""
    scan = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)).to_bytes()
    usual = [
        member(f"./{NAME}", type=tarfile.DIRTYPE, mode=0o755),
        member(f"./{NAME}/dataset.json", LISTING),
        member(f"./{NAME}/imagesTr/a.nii.gz", scan),
        member(f"./{NAME}/labelsTr/a.nii.gz", scan),
    ]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for info, content in [*usual, *members]:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves one content under every path; ``cut`` bytes a connection, then it breaks off."""

    daemon_threads = True
    content = b""
    cut: int | None = None
    ranges = True
    error: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []  # path, Range

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if server.error or start >= len(server.content):
            self.send_error(server.error or 416)
            return
        rest = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.cut])

    def log_message(self, *_: object) -> None:
        """No noise."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on loopback with a good archive whose MD5 is the published one."""
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    running = Server()
    publish(running, archive(), monkeypatch)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def publish(server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = content
    monkeypatch.setitem(MD5, NAME, hashlib.md5(content).hexdigest())


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


WHOLE = sorted(
    [NAME, f"{NAME}/dataset.json"]
    + [f"{NAME}/{part}{file}" for part in ("imagesTr", "labelsTr") for file in ("", "/a.nii.gz")]
)


def test_a_task_arrives_and_is_a_data_set(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch_task(NAME, tmp_path / "new", address=server.address, say=said.append)
    assert server.asked == [(f"/{NAME}.tar", None)]
    assert files(tmp_path / "new") == WHOLE  # no archive, no temporary folder
    assert [case.name for case in find_cases(folder)] == ["a"]
    assert said
    fetch_task(NAME, tmp_path / "new", address=server.address)
    assert len(server.asked) == 1  # what is there is not fetched again


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut = len(server.content) // 3
    fetch_task(NAME, tmp_path, address=server.address)
    assert [wanted for _, wanted in server.asked] == [None, *(f"bytes={n * server.cut}-" for n in (1, 2, 3))]
    assert files(tmp_path) == WHOLE


def test_an_interrupted_download_goes_on_in_the_next_call(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    server.cut = 1000
    with monkeypatch.context() as patched:
        patched.setattr("time.sleep", interrupt)  # Ctrl-C before the second connection
        with pytest.raises(KeyboardInterrupt):
            fetch_task(NAME, tmp_path, address=server.address)
    assert (tmp_path / f"{NAME}.tar.part").read_bytes() == server.content[:1000]
    server.cut = None
    fetch_task(NAME, tmp_path, address=server.address)
    assert server.asked[1:] == [(f"/{NAME}.tar", "bytes=1000-")]
    assert files(tmp_path) == WHOLE


def test_what_lies_there_is_taken_up_and_checked(server: Server, tmp_path: Path) -> None:
    """All of it, by a server without ranges; or something else, shorter or longer, which is found out."""
    part = tmp_path / f"{NAME}.tar.part"
    for content, ranges, sound in ((server.content, True, True), (server.content[:100], False, True),
                                   (b"x" * 1000, True, False), (b"x" * 10**6, True, False)):  # fmt: skip
        server.ranges = ranges
        part.write_bytes(content)
        if not sound:
            with pytest.raises(InputError, match=r"not the published file .*; call again\.$"):
                fetch_task(NAME, tmp_path, address=server.address)
        fetch_task(NAME, tmp_path, address=server.address)
        assert files(tmp_path) == WHOLE
        shutil.rmtree(tmp_path / NAME)


def test_a_file_that_is_not_the_published_one_is_never_unpacked(server: Server, tmp_path: Path) -> None:
    server.content = archive(member(f"{NAME}/more", b"1"))
    with pytest.raises(InputError, match="not the published file"):
        fetch_task(NAME, tmp_path, address=server.address)
    assert files(tmp_path) == []


def test_no_progress_ends_in_a_sentence_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.cut = 0
    with pytest.raises(InputError, match=r"broke off.*what has come so far is kept\.$"):
        fetch_task(NAME, tmp_path, address=server.address)
    assert len(server.asked) == fetch._TRIES
    server.error = 503
    with pytest.raises(InputError, match="503"):
        fetch_task(NAME, tmp_path, address=server.address)
    server.error, before = 404, len(server.asked)
    with pytest.raises(InputError, match="404"):
        fetch_task(NAME, tmp_path, address=server.address)
    assert len(server.asked) == before + 1  # asking again would change nothing


def test_a_network_that_goes_away_is_not_taken_for_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(answer: Any, size: int = -1) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr("http.client.HTTPResponse.read", unreachable)
    with pytest.raises(InputError, match=r"cannot be downloaded \(No route to host\); call again later"):
        fetch_task(NAME, tmp_path, address=server.address)


def test_a_python_without_certificates_is_told_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Mac whose Python came from python.org: trying again would never help."""
    asked = []

    def untrusted(*_: Any, **__: Any) -> None:
        asked.append(1)
        said = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate"
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, said))

    monkeypatch.setattr("urllib.request.urlopen", untrusted)
    with pytest.raises(InputError, match=r"local issuer certificate.*; on a Mac open 'Install Cert"):
        fetch_task(NAME, tmp_path, address=server.address)
    assert asked == [1]


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    address = server.address.replace(str(server.server_port), "1")
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch_task(NAME, tmp_path, address=address)


@pytest.mark.parametrize(
    "evil",
    [
        member("../evil", b"x"),
        member(f"{NAME}/../../evil", b"x"),
        member(f"{NAME}/link", type=tarfile.SYMTYPE, linkname="../../evil"),
        member(f"{NAME}/device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    ],
    ids=lambda evil: f"{evil[0].name} {evil[0].type.decode()}",
)
def test_an_evil_archive_writes_nothing(
    evil: tuple[tarfile.TarInfo, bytes], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, archive(evil), monkeypatch)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch_task(NAME, tmp_path / "out", address=server.address)
    assert files(tmp_path) == ["out", f"out/{NAME}.tar.part"]


def test_a_disk_without_room_is_told_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 2 * len(server.content) - 1}))
    with pytest.raises(InputError, match="GB of room"):
        fetch_task(NAME, tmp_path, address=server.address)
    assert files(tmp_path) == []


def test_two_at_once_and_what_a_killed_one_left(server: Server, tmp_path: Path) -> None:
    with folder_lock(tmp_path, NAME), pytest.raises(InputError, match="Another process is writing"):
        fetch_task(NAME, tmp_path, address=server.address)
    assert server.asked == []
    half = tmp_path / f".{NAME}.part" / NAME / "imagesTr"  # killed while it unpacked
    half.mkdir(parents=True)
    (half / "half.nii.gz").write_bytes(b"")
    (tmp_path / f"{NAME}.tar.part").write_bytes(server.content)
    fetch_task(NAME, tmp_path, address=server.address)
    assert files(tmp_path) == WHOLE


def test_names_and_folders_that_do_not_fit(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'Task01' to fetch; choose one of Task04_Hippocampus, Task03_Liver"):
        fetch_task("Task01", tmp_path, address=server.address)
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match="is no task of the Decathlon"):
        fetch_task(NAME, tmp_path, address=server.address)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        fetch_task(NAME, tmp_path / "file", address=server.address)
    assert server.asked == []
