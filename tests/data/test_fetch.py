"""Downloads from a server on this machine that breaks off and lies."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scans import told

from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.fetch import MD5, fetch_task
from lrnet_edu.support.files import folder_lock

NAME = "Task04_Hippocampus"
TASK = {
    f"{NAME}/dataset.json": b'{"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}',
    f"{NAME}/imagesTr/a.nii.gz": b"scan" * 100,
    f"{NAME}/labelsTr/a.nii.gz": b"mask",
}


def archive() -> bytes:
    """A task with one case, and one file more, as macOS put them into the published archives."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path, content in {**TASK, f"._{NAME}": b""}.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves one content under every path; ``cut`` bytes a connection, then it breaks off."""

    cut: int | None = None
    ranges = True
    error: int | None = None

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.address = content, f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(f"{self.path} {wanted}")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if server.ranges else 0
        if server.error or start >= len(server.content):
            self.send_error(server.error or 416)
            return
        self.send_response(206 if server.ranges else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:][: server.cut])

    def log_message(self, *_: object) -> None:
        """No noise."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on loopback with a good archive whose MD5 is the published one."""
    with Server(archive()) as running:
        monkeypatch.setitem(MD5, NAME, hashlib.md5(running.content).hexdigest())
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def fails(server: Server, out: Path, *words: str, name: str = NAME) -> None:
    told(lambda: fetch_task(name, out, address=server.address), *words)


def test_a_broken_download_goes_on_where_it_was_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    server.cut, out = 9000, tmp_path / "new"
    for number in range(1, -(-len(server.content) // 9000)):
        fails(server, out, "the line broke off); call again, what has come so far is kept.")
        assert (out / f"{NAME}.tar.part").read_bytes() == server.content[: 9000 * number]
    folder = fetch_task(NAME, out, address=server.address)
    assert server.asked[-1] == f"/{NAME}.tar bytes={9000 * number}-"
    assert files(out) == sorted(TASK)
    assert find_cases(folder)[0].name == "a"
    server.error = 404
    assert fetch_task(NAME, out, address=server.address) == folder  # nothing is asked for


@pytest.mark.parametrize(
    ("content", "ranges", "sound"),
    [(archive(), True, True), (archive()[:100], False, True), (b"x" * 1000, True, False), (b"x" * 10**6, True, False)],
)
def test_what_lies_there_is_taken_up_and_checked(
    server: Server, tmp_path: Path, content: bytes, ranges: bool, sound: bool
) -> None:
    server.ranges = ranges
    (tmp_path / f"{NAME}.tar.part").write_bytes(content)
    (tmp_path / f".{NAME}.part" / NAME / "imagesTr" / "half").mkdir(parents=True)  # of a process that was killed
    if not sound:
        fails(server, tmp_path, "not the published file", "; call again.")
        assert files(tmp_path) == []
    fetch_task(NAME, tmp_path, address=server.address)
    assert files(tmp_path) == sorted(TASK)


def test_what_cannot_be_ends_in_a_sentence(server: Server, tmp_path: Path) -> None:
    fails(server, tmp_path, "'Task01' to fetch; choose one of Task04_Hippocampus, Task03_Liver", name="Task01")
    (tmp_path / "file").touch()
    fails(server, tmp_path / "file", "cannot be written")
    with folder_lock(tmp_path, NAME):
        fails(server, tmp_path, "Another process is writing")
    assert server.asked == []
    server.error = 503
    fails(server, tmp_path, "could not be downloaded", "503", "; call again")
    server.address = server.address.replace(str(server.server_port), "1")  # no server at all
    fails(server, tmp_path, "could not be downloaded", "refused", "; call again")
    (tmp_path / NAME).mkdir()
    fails(server, tmp_path, "is no task of the Decathlon")
    assert files(tmp_path) == ["file"]
