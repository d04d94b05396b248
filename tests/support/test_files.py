"""Files whole or not at all, whatever becomes of the disk or the process; folders with one writer at a time."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scans import contents

from lrnet_edu.support.errors import InputError, check_each
from lrnet_edu.support.files import abbreviated, check_empty, check_writable, folder_lock, read_json, write_atomically


def test_json_of_any_editor_is_read(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # Windows' editors and PowerShell write the last two
        (tmp_path / "a.json").write_text('{"name": "µ"}', encoding)
        assert read_json(tmp_path / "a.json") == {"name": "µ"}


def test_all_bad_files_are_told_together_and_names_are_few() -> None:
    def check(number: int) -> None:
        if number % 2:
            raise InputError(f"file {number} is bad: mend it.")

    check_each(check, [0, 2, 4])
    with pytest.raises(InputError, match=r"^file 1 is bad: mend it\.$"):
        check_each(check, [0, 1])
    with pytest.raises(InputError, match=r"^6 cannot be used: file 1 .*; file 9 is bad: mend it; and 1 more\.$"):
        check_each(check, range(12))
    assert abbreviated([3, None, *range(5)]) == "3, None, 0, 1, 2 and 2 more"


def test_places_for_outputs(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "run")
    assert contents(tmp_path) == {}  # it only looks
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex is a file"):
        check_writable(tmp_path / "thesis.tex" / "run")
    check_empty(tmp_path / "missing")
    (tmp_path / ".DS_Store").touch()
    with pytest.raises(InputError, match=r"holds other files \(thesis\.tex\); name a new or an empty folder"):
        check_empty(tmp_path)


HOLDER = """
import sys, time
from pathlib import Path
from lrnet_edu.support.files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_and_a_killed_one_blocks_nobody(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="Another process is writing to"), folder_lock(tmp_path):
            pass
        holder.kill()
    with folder_lock(tmp_path):
        pass
    assert contents(tmp_path) == {}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for place in ("file/a.json", "file/deeper/a.json", "folder"):
        with pytest.raises(InputError, match="cannot be written"):
            write_atomically(tmp_path / place, b"content")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    write_atomically(tmp_path / "a.json", b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises((InputError, KeyboardInterrupt), match=r"No space left|^$"):
        write_atomically(tmp_path / "a.json", b"new")
    assert contents(tmp_path) == {"a.json": b"old"}
