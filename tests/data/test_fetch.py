"""Downloads from a server on this machine that breaks off, lies and sends evil archives."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.fetch import MD5, fetch_task
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock

NAME = "Task04_Hippocampus"
LISTING = b'{"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}'
WHOLE = sorted([NAME, f"{NAME}/dataset.json", *(f"{NAME}/{part}{file}" for part in ("imagesTr", "labelsTr")
                                                for file in ("", "/a.nii.gz"))])  # fmt: skip


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
    cut: int | None = None
    ranges = True
    error: int | None = None

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str | None]] = []  # path, Range


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
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.cut])

    def log_message(self, *_: object) -> None:
        """No noise."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on loopback with a good archive whose MD5 is the published one."""
    running = Server(archive())
    monkeypatch.setitem(MD5, NAME, hashlib.md5(running.content).hexdigest())
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def fails(server: Server, out: Path, match: str, name: str = NAME) -> None:
    with pytest.raises(InputError, match=match):
        fetch_task(name, out, address=server.address)


def test_fetches_checks_unpacks_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):  # the second time nothing is asked for
        folder = fetch_task(NAME, tmp_path / "new", address=server.address, say=said.append)
    assert files(tmp_path / "new") == WHOLE
    assert find_cases(folder)[0].name == "a"
    assert server.asked == [(f"/{NAME}.tar", None)]
    assert "is there already" in said[-1]


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cut = 9000
    for number in range(1, -(-len(server.content) // 9000)):
        fails(server, tmp_path, r"the line broke off\); call again, what has come so far is kept\.$")
        assert (tmp_path / f"{NAME}.tar.part").read_bytes() == server.content[: 9000 * number]
    fetch_task(NAME, tmp_path, address=server.address)
    assert server.asked[-1] == (f"/{NAME}.tar", f"bytes={9000 * number}-")
    assert files(tmp_path) == WHOLE


def test_what_lies_there_is_taken_up_and_checked(server: Server, tmp_path: Path) -> None:
    """All of it, by a server without ranges; or something else, shorter or longer, which is found out."""
    part = tmp_path / f"{NAME}.tar.part"
    for content, ranges, sound in ((server.content, True, True), (server.content[:100], False, True),
                                   (b"x" * 1000, True, False), (b"x" * 10**6, True, False)):  # fmt: skip
        server.ranges = ranges
        part.write_bytes(content)
        if not sound:
            fails(server, tmp_path, r"not the published file .*; call again\.$")
            assert files(tmp_path) == []
        fetch_task(NAME, tmp_path, address=server.address)
        assert files(tmp_path) == WHOLE
        shutil.rmtree(tmp_path / NAME)


@pytest.mark.parametrize("error", [404, 503, None])
def test_no_answer_ends_in_a_sentence(server: Server, tmp_path: Path, error: int | None) -> None:
    server.error = error
    if error is None:
        server.address = server.address.replace(str(server.server_port), "1")  # no server at all
    fails(server, tmp_path, rf"could not be downloaded .*{error or 'refused'}.*; call again")


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
    server.content = archive(evil)
    monkeypatch.setitem(MD5, NAME, hashlib.md5(server.content).hexdigest())
    fails(server, tmp_path / "out", "cannot be unpacked")
    assert files(tmp_path) == ["out", f"out/{NAME}.tar.part"]


def test_a_disk_without_room_is_told_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 2 * len(server.content) - 1}))
    fails(server, tmp_path, "GB of room")
    assert files(tmp_path) == []


def test_two_at_once_and_what_a_killed_one_left(server: Server, tmp_path: Path) -> None:
    with folder_lock(tmp_path, NAME):
        fails(server, tmp_path, "Another process is writing")
    assert server.asked == []
    half = tmp_path / f".{NAME}.part" / NAME / "imagesTr"  # killed while it unpacked
    half.mkdir(parents=True)
    (half / "half.nii.gz").write_bytes(b"")
    fetch_task(NAME, tmp_path, address=server.address)
    assert files(tmp_path) == WHOLE


def test_names_and_folders_that_do_not_fit(server: Server, tmp_path: Path) -> None:
    fails(server, tmp_path, "'Task01' to fetch; choose one of Task04_Hippocampus, Task03_Liver", "Task01")
    (tmp_path / NAME).mkdir()
    fails(server, tmp_path, "is no task of the Decathlon")
    (tmp_path / "file").write_bytes(b"")
    fails(server, tmp_path / "file", "cannot be written")
    assert server.asked == []
