"""Downloading a task of the Medical Segmentation Decathlon: resumed where it broke off, checked before it is used.

The download itself is the standard library's ``urllib``: ``pooch``, the usual choice, starts from zero after every
interruption, which for the 27 GB of ``Task03_Liver`` means never to finish on a weak line.
"""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import first_line, folder_lock

ADDRESS = "https://msd-for-monai.s3-us-west-2.amazonaws.com"  # the Decathlon's public bucket
MD5 = {  # of the published archives, NAME.tar
    "Task04_Hippocampus": "9d24dba78a72977dbd1d2e110310f31b",  # 27 MB: 260 small MRs; 1 anterior, 2 posterior part
    "Task03_Liver": "a90ec6c4aa7f6a3d087205e23d4e6397",  # 27 GB: the scans of LiTS; 1 liver, 2 tumour
}


def fetch_task(
    name: str, out: str | Path = ".", *, address: str = ADDRESS, say: Callable[[str], None] = lambda text: None
) -> Path:
    """Download a task of the Decathlon (Antonelli et al., 2022; CC BY-SA 4.0) and unpack it.

    What has come is kept in ``OUT/NAME.tar.part`` when the line breaks or the program is stopped; the next call goes
    on from there. The archive is unpacked once its MD5 is the published one, and is then removed.

    The task is "Task04_Hippocampus" or "Task03_Liver"; ``address/NAME.tar`` needs twice its size in ``out`` meanwhile.
    Returns the folder ``out / name``, for ``find_cases``, which is left as it is if it is there already. InputError for
    no such task, no connection, no room, another process at it, or a file that is not the published one.
    """
    if name not in MD5:
        raise InputError(f"There is no task {name!r} to fetch; choose one of {', '.join(MD5)}.")
    out = Path(out)
    folder, part, url = out / name, out / f"{name}.tar.part", f"{address}/{name}.tar"
    if (folder / "dataset.json").is_file():
        say(f"{folder} is there already.")
        return folder
    if os.path.lexists(folder):
        raise InputError(f"{folder} exists and is no task of the Decathlon; choose another output folder.")
    with folder_lock(out, name):
        try:
            _download(url, part)
            say(f"Checking {part.name} and unpacking it ...")
            with part.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != MD5[name]:
                part.unlink()
                raise InputError(f"{url} is not the published file (its MD5 is {found}) and is removed; call again.")
            unpacked = out / f".{name}.part"  # the folder is there as a whole or not at all
            shutil.rmtree(unpacked, ignore_errors=True)  # of an interrupted process
            with tarfile.open(part) as archive:
                archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python 3.11.2 has none
                archive.extractall(unpacked)  # noqa: S202  # its MD5 is the published one
            (unpacked / name).rename(folder)
            shutil.rmtree(unpacked)
            part.unlink()
        except (OSError, HTTPException, tarfile.TarError) as error:
            why = f"{url} could not be downloaded to {out} ({first_line(error)})"
            raise InputError(f"{why}; call again, what has come so far is kept.") from None
    return folder


def _download(url: str, part: Path) -> None:
    """Append to the bytes of ``part`` what they lack of the file at ``url``; OSError if the connection ends early."""
    start = part.stat().st_size if part.exists() else 0
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers={"Range": f"bytes={start}-"}), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond: it is whole, or its MD5 will tell
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:  # else the server sends the whole file
        total = file.tell() + int(answer.headers["Content-Length"])
        with tqdm.wrapattr(answer, "read", total=total, initial=file.tell(), desc=part.stem) as stream:
            shutil.copyfileobj(stream, file, 2**20)
    if part.stat().st_size < total:
        raise OSError("the line broke off")
