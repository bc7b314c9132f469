"""Time what journal, commands and page cost a training, and how soon the page shows something.

    .venv/bin/python benchmarks/live.py [--pairs 15] [--only cost]

``cost``: the tutorial's epoch with journal and commands, and with a page that asks for the run twice a second besides, against
the same epoch without; each block of ours stands between two of the other, as in ``benchmarks/fit.py``. The page's server and
the one who asks run at the lowest priority beside it. ``paint``: from opening the page to the drawn curves of a run of
1,000,000 points. ``point``: from the end of an epoch to its point in the browser. The last two take Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import torch
from fit import BATCH, digits, network, seven
from torch import nn

import jalon
from jalon.callbacks import Journal, Steering
from jalon.store.journal import JournalWriter

EPOCHS = 30


def trained(data: tuple[torch.Tensor, ...], folder: Path | None, *, repeats: int) -> float:
    x, y, x_val, y_val = data
    model = jalon.Model(network()).compile(torch.optim.Adam, loss=nn.CrossEntropyLoss(), metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as other:
        told = seven(Path(other), saving=False) + ([] if folder is None else [Journal(folder), Steering(folder)])
        began = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS // repeats, validation_data=(x_val, y_val), callbacks=told, verbose=0)
        return time.perf_counter() - began


@contextmanager
def page(folder: Path):
    command = ["nice", "-n", "19", sys.executable, "-m", "jalon", "watch", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split(": ", 1)[1].strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def asked(address: str, run: str):
    """Ask for a run twice a second, as an open page does."""
    base, _, token = address.partition("/#token=")
    request = Request(f"{base}/api/run?id={run}", headers={"Authorization": f"Bearer {token}"})
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.5):
            urlopen(request).read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def interval(ratios: list[float]) -> str:
    ordered = sorted(ratios)
    low, high = ordered[len(ordered) // 5], ordered[-1 - len(ordered) // 5]
    return f"{statistics.median(ordered):.3f}  (middle three fifths {low:.3f} to {high:.3f})"


def cost(pairs: int) -> None:
    for repeats, steps in ((1, 45), (8, 360)):
        data = digits(repeats)
        with tempfile.TemporaryDirectory() as top, page(Path(top)) as address:
            folder = Path(top, "run")
            for what in ("journal and commands", "and a page that is open"):
                ratios = []
                before = trained(data, None, repeats=min(repeats, 6))
                for _ in range(pairs):
                    if what.startswith("and"):
                        with asked(address, "run"):
                            ours = trained(data, folder, repeats=min(repeats, 6))
                    else:
                        ours = trained(data, folder, repeats=min(repeats, 6))
                    after = trained(data, None, repeats=min(repeats, 6))
                    ratios.append(2 * ours / (before + after))
                    before = after
                print(f"epochs of {steps} steps, {what:26} {interval(ratios)}", flush=True)


def million(folder: Path) -> None:
    folder.mkdir()
    (folder / "now.json").write_text("{}")
    with open(folder / "journal.jsonl", "w") as file:
        file.write(json.dumps({"kind": "begin", "time": 0.0, "epochs": 1, "position": {}}, separators=(",", ":")) + "\n")
        for step in range(1_000_000):
            logs = f'{{"loss":{1000 / (step + 1000):.6f}}}'
            file.write(f'{{"kind":"batch","time":{step / 100},"epoch":0,"batch":{step},"step":{step},"logs":{logs}}}\n')


def browser_figures() -> None:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))))
    with tempfile.TemporaryDirectory() as top, sync_playwright() as playwright:
        million(Path(top, "million"))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(3):
            with page(Path(top)) as address:
                opened = browser.new_page()
                opened.add_init_script("localStorage.setItem('view', JSON.stringify({ axis: 'step' }))")
                began = time.perf_counter()
                opened.goto(f"{address}&run=million")
                opened.wait_for_selector("figure canvas")
                first = time.perf_counter() - began
                while opened.evaluate("state.known.get('million').complete") is False:
                    time.sleep(0.05)
                print(f"1,000,000 points: first curves after {first:.2f} s, all read after {time.perf_counter() - began:.2f} s")
                opened.close()
        points(Path(top), browser)


def points(top: Path, browser) -> None:
    writer = JournalWriter(top / "growing", anew=True)
    writer.append({"kind": "begin", "time": time.time(), "epochs": 100, "position": {}})
    with page(top) as address:
        writer.append({"kind": "epoch", "time": time.time(), "epoch": 0, "logs": {"loss": 1.0}})
        opened = browser.new_page()
        opened.goto(f"{address}&run=growing")
        opened.wait_for_selector("figure canvas")
        delays = []
        for epoch in range(1, 21):
            time.sleep(0.37)
            began = time.perf_counter()
            writer.append({"kind": "epoch", "time": time.time(), "epoch": epoch, "logs": {"loss": 1.0 / epoch}})
            while opened.evaluate("state.charts.get('loss').plot.data[0].length") <= epoch:
                time.sleep(0.005)
            delays.append(time.perf_counter() - began)
        print(f"a new point is seen after {statistics.median(delays):.2f} s, at most {max(delays):.2f} s")
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", choices=["cost", "browser"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    if given.only != "browser":
        cost(given.pairs)
    if given.only != "cost":
        browser_figures()


if __name__ == "__main__":
    main()
