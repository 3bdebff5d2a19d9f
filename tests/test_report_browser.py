"""The report in a real browser: hostile data does nothing, no request leaves it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest
from record_case import make_record
from report_case import make_run, make_trust

from kbert import report
from kbert.recipes import comparison
from kbert.recipes.tweets import EXPERIMENT

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "</title></style><svg onload=\"document.title='pwned'\">",
    '<img src="http://example.invalid/a.png"><link rel=stylesheet href=//b.invalid/c>',
    '<a href="javascript:document.title=1">x</a> <iframe src="http://example.invalid">',
    "<meta http-equiv=refresh content='0;url=http://example.invalid'>",
    "nul\x00 bell\x07 c1\x9b \u202ereversed\u202c \u200f \udc80 \ud83d \ufffe",
    "<b>" * 3_334,
)

# What Chromium asks its maker for by itself, such as the time.
BROWSERS_OWN = re.compile(rb"^\w+ (http://)?[\w.-]+\.(google|googleapis|gvt1)\.com\b")


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium found")
    return found


@pytest.fixture
def proxy():
    """A proxy that answers nothing: its address, and what it was asked for."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(2)
                    try:
                        asked.append(connection.recv(1000))
                    except OSError as error:
                        asked.append(repr(error).encode())

        threading.Thread(target=listen, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def dump(browser, address, path, profile) -> str:
    """Open a page, let it run, and return what has become of it."""
    root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    command = [
        browser, "--headless", *root, "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--disable-default-apps",
        "--disable-features=NetworkTimeServiceQuerying", "--disable-extensions",
        f"--user-data-dir={profile}", f"--proxy-server={address}",
        "--proxy-bypass-list=<-loopback>", "--virtual-time-budget=2000",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8")


def test_hostile_data_does_nothing_in_a_browser(browser, proxy, tmp_path):
    address, asked = proxy
    attack = " ".join(HOSTILE[:-1])
    run = make_run(
        label_names=HOSTILE[:2], texts=(attack, *HOSTILE), title=HOSTILE[2],
        question=attack, command=attack, notices=[attack], deviations=[attack],
        config={attack: attack}, preset={"name": attack, "source": attack},
    )  # fmt: skip
    folder = report.RunFolder.create(tmp_path / "run")
    report.write_report(folder, run)
    # Chromium cannot lock a profile on every file system that tests run on.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = dump(browser, address, folder.path / "report.html", profile)
    titles = re.findall(r"<title>(.*?)</title>", page, re.S)
    assert titles == [HOSTILE[2].replace("<", "&lt;").replace(">", "&gt;")]
    assert not re.search(r"<(script|img|iframe|a|b onload|svg onload)\b", page)
    assert "pwned" in page and page.rstrip().endswith("</html>")
    assert "<footer>" in page, "the page ends early"
    assert not [request for request in asked if not BROWSERS_OWN.search(request)]


@pytest.mark.slow
def test_a_report_on_several_trials_does_nothing_either(browser, proxy, tmp_path):
    address, asked = proxy
    attack = " ".join(HOSTILE[:-1])
    first = make_record()
    changes = {"notices": [attack], "deviations": [attack], "changed": [attack]}
    changes["preset"] = first["preset"] | {"name": attack, "source": attack}
    changes["data"] = first["data"] | {"source": attack, "is_documented": False}
    changes["device"] = first["device"] | {"name": attack}
    folder = report.RunFolder.create(tmp_path / "run")
    records = [first | changes, make_record("none", collapsed=True)]
    comparison.write(folder, EXPERIMENT, records)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = dump(browser, address, folder.path / "report.html", profile)
    assert re.findall(r"<title>(.*?)</title>", page, re.S) == [EXPERIMENT.title]
    assert not re.search(r"<(script|img|iframe|b onload|svg onload)\b", page)
    links = re.findall(r"<a [^>]*>", page)
    assert links == [f'<a href="{v}-seed42/report.html">' for v in ("fixed", "none")]
    assert "pwned" in page and "<footer>" in page and page.count("<svg") == 2
    assert not [request for request in asked if not BROWSERS_OWN.search(request)]


@pytest.mark.slow
def test_what_it_says_about_trust_does_nothing_either(browser, proxy, tmp_path):
    address, asked = proxy
    attack = " ".join(HOSTILE[:-1])
    check = {"kind": attack, "count": 1, "rows": [attack], "advice": attack}
    run = make_run(trust=make_trust(attack), checks=[check])
    folder = report.RunFolder.create(tmp_path / "run")
    report.write_report(folder, run)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = dump(browser, address, folder.path / "report.html", profile)
    assert re.findall(r"<title>(.*?)</title>", page, re.S) == [run.title]
    assert not re.search(r"<(script|img|iframe|b onload|svg onload)\b", page)
    assert set(re.findall(r'<a [^>]*href="(.)', page)) == {"#"}
    assert "pwned" in page and "<footer>" in page
    assert not [request for request in asked if not BROWSERS_OWN.search(request)]


def test_the_watch_would_notice(browser, proxy, tmp_path):
    """A page that does run scripts and asks for a picture is seen doing both."""
    address, asked = proxy
    page = tmp_path / "page.html"
    page.write_text(
        "<title>x</title><script>document.title='pwned'</script>"
        "<img src='http://example.invalid/a.png'>"
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        assert "<title>pwned</title>" in dump(browser, address, page, profile)
    assert any(b"example.invalid" in request for request in asked)
