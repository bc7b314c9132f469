"""Time what journal, commands and page cost a training, and how soon the page shows something.

    .venv/bin/python benchmarks/live.py [--pairs 15] [--only cost]

``cost``: the tutorial's epoch with journal and commands, and with a page that asks for the run twice a second besides, against
the same epoch without; each block of ours stands between two of the other, as in ``benchmarks/fit.py``. Printed: the median of
the ratios, and the middle three fifths of them. The page's server and the one who asks run at the lowest priority. ``paint``:
from opening the page to the drawn curves of a run of 1,000,000 points. ``point``: from the end of an epoch to its point in the
browser. The last two take Chromium.
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
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from fit import BATCH, digits, network, seven
from torch import nn

import jalon
from jalon.callbacks import Journal, Steering
from jalon.store.journal import JournalWriter

EPOCHS = 30


def trained(data: tuple[torch.Tensor, ...], folder: Path | None, *, repeats: int) -> tuple[float, float]:
    """Return the seconds that a training takes, and those of the processor, with those of its threads."""
    x, y, x_val, y_val = data
    model = jalon.Model(network()).compile(torch.optim.Adam, loss=nn.CrossEntropyLoss(), metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as other:
        told = seven(Path(other), saving=False) + ([] if folder is None else [Journal(folder), Steering(folder)])
        began, processor = time.perf_counter(), time.process_time()
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS // repeats, validation_data=(x_val, y_val), callbacks=told, verbose=0)
        return time.perf_counter() - began, time.process_time() - processor


@contextmanager
def page(folder: Path):
    command = ["nice", "-n", "19", sys.executable, "-m", "jalon", "watch", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split(": ", 1)[1].strip()
    finally:
        process.kill()
        process.wait()


ASK = """
import sys, time, urllib.request
base, _, token = sys.argv[1].partition("/#token=")
request = urllib.request.Request(f"{base}/api/run?id=run", headers={"Authorization": f"Bearer {token}"})
while True:
    time.sleep(0.5)
    urllib.request.urlopen(request).read()
"""


@contextmanager
def asked(address: str):
    """Ask for the run twice a second, as an open page does."""
    process = subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", ASK, address])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def interval(ratios: list[float]) -> str:
    ordered = sorted(ratios)
    low, high = ordered[len(ordered) // 5], ordered[-1 - len(ordered) // 5]
    return f"{statistics.median(ordered):.3f} ({low:.3f} to {high:.3f})"


def cost(pairs: int) -> None:
    for repeats, steps in ((1, 45), (8, 360)):
        data, shorter = digits(repeats), min(repeats, 6)
        with tempfile.TemporaryDirectory() as top, page(Path(top)) as address:
            folder = Path(top, "run")
            trained(data, folder, repeats=shorter)
            for what in ("journal and commands", "and a page that is open"):
                walls, processors = [], []
                with asked(address) if what.startswith("and") else nullcontext():
                    before = trained(data, None, repeats=shorter)
                    for _ in range(pairs):
                        ours, after = trained(data, folder, repeats=shorter), trained(data, None, repeats=shorter)
                        walls.append(2 * ours[0] / (before[0] + after[0]))
                        processors.append(2 * ours[1] / (before[1] + after[1]))
                        before = after
                print(f"epochs of {steps} steps, {what}: {interval(walls)}, by the processor {interval(processors)}", flush=True)


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
