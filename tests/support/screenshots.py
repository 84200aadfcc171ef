"""Makes the pictures of docs/page.md: `python -m tests.support.screenshots`. A server, the lab, campaigns, and a browser.

The calls are real ones of the lab; the hour before them is made up. Pictures are made small where pngquant is at hand.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scheduler.connection import connect
from tests.support.browser import Browser
from tests.support.dialer_process import Client, Dialer
from tests.support.lab_thread import LabThread

IMAGES = Path(__file__).parents[2] / "docs" / "images"
FIRST = ["Ana", "Bruno", "Carla", "Diego", "Elena", "Felix", "Gloria", "Hugo", "Irene", "Jorge", "Karla", "Marta"]
LAST = ["García", "Sousa", "Moreau", "López", "Rossi", "Novak", "Kowalski", "Silva", "Martín", "Ferrer", "Klein"]
# What the lab does follows the end of the number: most are answered, some are busy, ring out, decline, do not exist.
ENDINGS = ["01", "02", "04", "10", "486", "01", "404", "603", "05", "02", "480", "01", "02", "04", "01", "02"]
USUAL = {
    "answered": (200, 11),
    "no_answer": (487, 4),
    "busy": (486, 3),
    "unreachable": (480, 1),
    "invalid_number": (404, 1),
}
SETTLED_SECONDS = 75


def people(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "phone": f"+346{i % 1000:03d}{i // 1000:02d}{ENDINGS[i % len(ENDINGS)].rjust(3, '0')}",
            "first_name": FIRST[i % len(FIRST)],
            "last_name": LAST[i % len(LAST)],
        }
        for i in range(first, first + count)
    ]


def post(client: Client, name: str, contacts: Sequence[dict[str, Any]], **keys: Any) -> str:
    steps = [{"do": "wait", "seconds": 12}, {"do": "hangup"}]
    body = {"name": name, "trunks": ["pbx"], "ring_timeout_seconds": 20, "max_call_seconds": 60, "steps": steps}
    book = client.http.post("/playbook", json=body).json()["id"]
    answer = client.http.post("/campaign", json={"playbook_id": book, "contacts": contacts, "recall": [1, 30], **keys})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["campaign_id"])


def make_up_an_hour(dialer: Dialer) -> None:
    dice = random.Random(7)
    minute = time.time_ns() // 60_000_000_000
    connection = connect(dialer.folder / "dialer.db")
    for age in range(2, 56):
        rush = 0.4 if age > 40 else 1.0
        rows = [(word, status, round(n * 3 * rush * dice.uniform(0.5, 1.4))) for word, (status, n) in USUAL.items()]
        rows += [("trunk_failure", 503, dice.randint(6, 20))] if 22 <= age <= 26 else []
        connection.executemany(
            "INSERT INTO minute VALUES (1, ?, ?, ?, ?, ?, 0, 1)",
            [(minute - age, word, status, n, (minute - age) * 60_000) for word, status, n in rows if n],
        )
    connection.close()


def take(browser: Browser, name: str, **look: Any) -> None:
    browser.look(**look)
    browser.wait_for("new Promise(done => setTimeout(() => done(true), 300))", 10, "the picture")
    path = IMAGES / f"{name}.png"
    browser.screenshot(path)
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--ext", ".png", "--speed", "1", "64", path], check=True)
    sys.stdout.write(f"{path.name}: {path.stat().st_size // 1024} KB\n")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dialer-pictures-") as folder, LabThread(pace=2.0) as lab:
        pbx = {**lab.trunk, "max_concurrent_calls": 30, "calls_per_second": 8}
        spare = {"uri": f"sip:127.0.0.1:{lab.lab.port}", "max_concurrent_calls": 60, "calls_per_second": 10}
        pacing = {"stagger_seconds": 0.7, "max_concurrent_calls": 90}
        dialer = Dialer(Path(folder), {"pbx": pbx, "carrier": spare}, pacing=pacing)
        dialer.run("db", "migrate")
        client = dialer.account("Harbour Clinic")
        make_up_an_hour(dialer)
        dialer.start()
        try:
            shoot(dialer, client, Path(folder))
        finally:
            client.close()
            dialer.stop()


def shoot(dialer: Dialer, client: Client, folder: Path) -> None:
    reminders = post(client, "Appointment reminders", people(0, 400))
    post(client, "Renewal 2031", people(500, 180))
    post(client, "Flu vaccination", people(1000, 2500), launch_at="2031-03-03T10:00:00Z")
    client.http.post(f"/campaign/{post(client, 'Overdue invoices', people(4000, 60))}/pause")
    time.sleep(SETTLED_SECONDS)
    called_again = next(
        call["id"] for call in client.calls(reminders).values() if len(call["attempts"]) > 1 and call["state"] != "live"
    )
    with Browser(folder) as browser:
        browser.open(f"{dialer.url}/")
        browser.wait_for("document.activeElement.id === 'token'", 10, "the login")
        browser.type(client.token)
        browser.press("Enter")
        browser.wait_for("document.title === 'Overview · dialer'", 10, "the overview")
        take(browser, "overview", width=1280, height=1500)
        take(browser, "overview-phone", width=390, height=844, phone=True, dark=True)
        browser.open(f"{dialer.url}/page/campaign/{reminders}")
        take(browser, "campaign", width=1280, height=900, dark=True)
        browser.open(f"{dialer.url}/page/call/{called_again}")
        take(browser, "call", width=1280, height=900)


if __name__ == "__main__":
    main()
