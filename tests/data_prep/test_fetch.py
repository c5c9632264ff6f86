"""Downloads against a real server on this machine that behaves as badly as servers do."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_prep import DataError, Network, RawFile
from data_prep.fetch import fetch
from data_prep.unpack import unpack

BODY = bytes(range(256)) * 8000  # 2 MB
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server:
    """One file, served with the faults in `faults` (taken off from the left, one a request)."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.requests: list[dict[str, str]] = []
        self.body, self.etag = BODY, '"one"'
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        self.requests.append({"path": to.path, **{k.lower(): v for k, v in to.headers.items()}})
        fault = self.faults.pop(0) if self.faults else ""
        if fault.startswith("redirect "):
            to.send_response(302)
            to.send_header("Location", fault.split()[1])
            to.end_headers()
            return
        if fault.isdigit():
            to.send_error(int(fault))
            return
        start = 0
        asked = to.headers.get("Range", "")
        if asked and to.headers.get("If-Range") == self.etag and fault != "no ranges":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            to.send_response(206)
            shown = start + 7 if fault == "wrong range" else start
            to.send_header("Content-Range", f"bytes {shown}-{len(self.body) - 1}/{len(self.body)}")
        else:
            to.send_response(200)
        body = self.body[start:]
        if fault == "wrong bytes":
            body = body[:-1] + b"?"
        announced = len(body) + (1000 if fault == "lies" else 0)
        if fault != "too much":
            to.send_header("Content-Length", str(announced))
        to.send_header("ETag", self.etag)
        to.end_headers()
        if fault == "drop":
            body = body[: len(body) // 2]
        if fault == "too much":
            body *= 3
        with contextlib.suppress(ConnectionError):
            to.wfile.write(body)
        to.close_connection = True


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def network(**options) -> Network:
    return Network(**{"pause_s": 0.0, "timeout_s": 10.0, "retries": 3, "proxy": "", **options})


def raw_file(*servers: Server, **options) -> RawFile:
    urls = tuple(f"{s.url}/data.bin" for s in servers)
    return RawFile(
        **{"path": "data.bin", "urls": urls, "size": len(BODY), "sha256": SHA256, **options}
    )


def leftovers(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"data.bin.lock"}


def test_a_file_comes_once_and_its_progress_is_told(server, tmp_path):
    seen = []
    for _ in range(2):
        path = fetch(
            raw_file(server), tmp_path, network=network(), progress=lambda *a: seen.append(a)
        )
    assert path.read_bytes() == BODY
    assert len(server.requests) == 1 and leftovers(tmp_path) == {"data.bin"}
    assert seen[-1] == ("data.bin", len(BODY), len(BODY))
    assert [n for _, n, _ in seen] == sorted(n for _, n, _ in seen)


@pytest.mark.parametrize(
    "faults",
    [["drop", "drop", "drop"], ["drop", "no ranges"], ["503", "drop", "500"], ["drop", "416"]],
    ids="-".join,
)
def test_a_broken_download_goes_on_where_it_was(server, tmp_path, faults):
    server.faults = list(faults)
    assert fetch(raw_file(server), tmp_path, network=network()).read_bytes() == BODY
    if faults == ["drop"] * 3:
        starts = [r.get("range", "") for r in server.requests]
        assert starts[0] == "" and len(set(starts)) == 4


def test_another_process_goes_on_with_what_a_killed_one_left(server, tmp_path):
    server.faults = ["drop"] + ["503"] * 3
    with pytest.raises(DataError, match="HTTP 503"):
        fetch(raw_file(server), tmp_path, network=network())
    assert fetch(raw_file(server), tmp_path, network=network()).read_bytes() == BODY
    assert server.requests[-1]["range"].startswith("bytes=1")


def test_a_new_version_on_the_server_is_not_mixed_with_the_old(server, tmp_path):
    server.faults = ["drop", "503", "503", "503"]
    with pytest.raises(DataError):
        fetch(raw_file(server), tmp_path, network=network())
    server.body, server.etag = BODY[::-1], '"two"'
    new = raw_file(server, sha256=hashlib.sha256(BODY[::-1]).hexdigest())
    assert fetch(new, tmp_path, network=network()).read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("wrong bytes", "sha256"),
        ("too much", "sends more than the 2048000 bytes"),
        ("lies", "announces 2049000 bytes, should be 2048000"),
        ("404", "HTTP 404"),
        ("403", "HTTP 403: it wants a token"),
    ],
)
def test_a_server_that_gives_something_else_is_refused_and_a_mirror_is_asked(
    server, tmp_path, fault, why
):
    server.faults = [fault]
    with pytest.raises(DataError, match=why) as caught:
        fetch(raw_file(server), tmp_path, network=network())
    assert str(tmp_path / "data.bin") in str(caught.value)
    assert "cannot download data.bin (2.0 MB): " in str(caught.value)
    assert not (tmp_path / "data.bin").exists()
    server.faults = [fault]
    good = Server()
    try:
        path = fetch(raw_file(server), tmp_path, network=network(mirrors=(server.url, good.url)))
        assert path.read_bytes() == BODY and len(good.requests) == 1
    finally:
        good.close()


def test_a_length_that_is_a_lie_ends_in_an_error_when_no_size_is_known(server, tmp_path):
    server.faults = ["lies"] * 10
    with pytest.raises(DataError, match="attempts brought nothing"):
        fetch(raw_file(server, size=None), tmp_path, network=network())


def test_a_wrong_range_is_not_appended(server, tmp_path):
    server.faults = ["drop", "wrong range"]
    with pytest.raises(DataError, match="answers with the range"):
        fetch(raw_file(server), tmp_path, network=network())


def test_without_a_published_checksum_the_first_download_is_the_measure(server, tmp_path, caplog):
    file = raw_file(server, sha256=None, size=None)
    path = fetch(file, tmp_path, network=network())
    assert json.loads((tmp_path / ".seen.json").read_text())["data.bin"]["sha256"] == SHA256
    assert "recorded sha256" in caplog.text
    path.unlink()
    server.faults = ["wrong bytes"]
    with pytest.raises(DataError, match="the first download had"):
        fetch(file, tmp_path, network=network())


def test_a_token_goes_to_the_server_asked_and_to_no_other(server, tmp_path):
    other = Server()
    try:
        server.faults = [f"redirect {other.url}/data.bin"]
        fetch(raw_file(server), tmp_path, network=network(token="secret"))
        assert server.requests[0]["authorization"] == "Bearer secret"
        assert "authorization" not in other.requests[0]
    finally:
        other.close()


def test_a_proxy_is_asked_for_everything(server, tmp_path):
    file = raw_file(server, urls=("http://unreachable.invalid/data.bin",))
    fetch(file, tmp_path, network=network(proxy=server.url))
    assert server.requests[0]["path"] == "http://unreachable.invalid/data.bin"


def test_only_http_is_spoken(tmp_path):
    file = RawFile(path="data.bin", urls=("file:///etc/passwd",))
    with pytest.raises(DataError, match="no http"):
        fetch(file, tmp_path, network=network())


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 5 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"hello") if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_becomes_a_folder_once(tmp_path, kind):
    archive = tmp_path / "a.archive"
    if kind == "tar":
        tar_of(archive, member("d", tarfile.DIRTYPE), member("d/one"), member("two"))
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("d/one", "hello")
            packed.writestr("two", "hello")
    for _ in range(2):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "d" / "one").read_text() == "hello"
    assert json.loads((tmp_path / "out" / ".unpacked.json").read_text())["files"] == 2


@pytest.mark.parametrize(
    "bad",
    [
        member("../escape"),
        member("/abs/escape"),
        member("d/../../escape"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "good"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda m: m.name,
)
def test_an_archive_that_reaches_out_is_refused_whole(tmp_path, bad):
    archive = tar_of(tmp_path / "bad.tar.gz", member("good"), bad)
    with pytest.raises(DataError, match=r"points out of the folder|is a link or a device"):
        unpack(archive, tmp_path / "in" / "out")
    assert not (tmp_path / "in" / "out").exists() and not (tmp_path / "escape").exists()


def test_a_zip_that_reaches_out_or_a_torn_archive_is_refused(tmp_path):
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../escape", "x")
    with pytest.raises(DataError, match="points out"):
        unpack(archive, tmp_path / "out")
    torn = tar_of(tmp_path / "torn.tar.gz", *(member(f"{i}") for i in range(99)))
    torn.write_bytes(torn.read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        unpack(torn, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()
