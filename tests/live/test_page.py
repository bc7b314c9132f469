"""The page in Debian's Chromium, over real trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from conftest import ended_after, wait_for
from runs_on_disk import epoch, write_journal

from jalon.store.journal import records

TRAINING = str(Path(__file__).with_name("training.py"))


def training(run, *, epochs=1000):
    """Begin a training in a process of its own."""
    command = [sys.executable, TRAINING, str(run), str(epochs)]
    return ended_after(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))


@pytest.fixture
def page(browser, watched):
    """Return the page, opened by the address that was printed. What goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    faults = []
    opened.on("pageerror", lambda fault: faults.append(str(fault)))
    opened.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    opened.set_default_timeout(20_000)
    opened.goto(watched.address)
    yield opened
    context.close()
    assert [] == faults


def choose(page, name):
    page.get_by_role("button", name=name).first.click()
    wait_for(lambda: name in page.title())


def newest(page, metric="loss"):
    """Return how many points a curve has."""
    return page.evaluate("metric => state.charts.get(metric)?.plot?.data[0].length ?? 0", metric)


def at_rest(page, run):
    """Return whether a run is paused and takes no step."""
    return page.locator("#state").inner_text() == "paused"


def test_watched_and_steered(page, watched):
    """Curves move; pause pauses, a rate that is set is the optimizer's, a note is kept, a reload loses nothing, stop stops."""
    run = watched.folder / "digits"
    with training(run) as process:
        wait_for(lambda: (run / "journal.jsonl").exists())
        choose(page, "digits")
        wait_for(lambda: newest(page) >= 2)
        first = newest(page)
        wait_for(lambda: newest(page) > first)

        page.get_by_role("button", name="Pause").click()
        page.get_by_text("Paused in epoch").first.wait_for()
        wait_for(lambda: at_rest(page, run))
        paused_at = [one for one in records(run / "journal.jsonl") if one["kind"] in ("batch", "command")][-1]["step"]
        page.get_by_label("Value", exact=True).fill("0.0123")
        page.get_by_role("button", name="Set", exact=True).click()
        page.get_by_text("learning_rate was 0.001 and is 0.0123").first.wait_for()
        page.get_by_label("Note", exact=True).fill("<img src=x onerror=alert(1)> slower now")
        page.get_by_role("button", name="Add").click()
        page.get_by_text("<img src=x onerror=alert(1)> slower now").wait_for()
        steps = [one["step"] for one in records(run / "journal.jsonl") if "step" in one]

        page.reload()
        page.wait_for_selector("figure canvas")
        wait_for(lambda: newest(page) > first)
        kept = page.locator("#events").inner_text()

        page.get_by_role("button", name="Go on").click()
        wait_for(lambda: page.locator("#state").inner_text() == "running")
        wait_for(lambda: [one for one in records(run / "journal.jsonl") if one.get("step", 0) > paused_at])
        page.get_by_role("button", name="Stop after batch").click()
        wait_for(lambda: page.locator("#state").inner_text() == "stopped")
        said = process.stdout.read().split()

    assert paused_at == max(steps)
    assert "slower now" in kept
    assert "0.0123" in kept
    assert 0.0123 == pytest.approx(float(said[1]))
    assert "a command asked for it" == " ".join(said[5:])
    assert not page.get_by_role("button", name="Pause").is_visible()
    assert "a command asked for it" == page.locator("#reason").inner_text()


def test_a_killed_run_is_dead_and_goes_on(page, watched):
    """A run whose process was killed is told from one that ended; started again, it runs, and the resume is marked."""
    run = watched.folder / "killed"
    with training(run, epochs=40) as process:
        wait_for(lambda: sum(one["kind"] == "epoch" for one in records(run / "journal.jsonl")) >= 2)
        choose(page, "killed")
        process.kill()
        wait_for(lambda: page.locator("#state").inner_text() == "dead")
        told = page.locator("#reason").inner_text()
    with training(run, epochs=40):
        wait_for(lambda: page.locator("#state").inner_text() == "running")
        page.get_by_text("gone on with after an interruption").wait_for()

    assert "Start the program again to go on from its backup." in told


def test_side_by_side(page, watched):
    """Runs are searched, and compared: curves over one axis, values and set-up in a table."""
    for name, losses in (("first", [1.0, 0.5]), ("second", [0.9, 0.3, 0.2])):
        write_journal(watched.folder / "pair" / name, *(epoch(number, loss=loss) for number, loss in enumerate(losses)))
    page.get_by_label("Search").fill("pair")
    wait_for(lambda: page.evaluate("document.querySelectorAll('#runs li').length === 2"))
    choose(page, "pair/first")
    page.get_by_label("Compare pair/second").check()
    page.get_by_role("heading", name="Side by side").wait_for()
    wait_for(lambda: page.evaluate("state.charts.get('loss').plot.series.length === 3"))
    columns = page.evaluate("state.charts.get('loss').plot.data.map((column) => Array.from(column))")
    rows = page.locator("#compare-table tr").all_inner_texts()

    assert [[1, 2, 3], [1.0, 0.5, None], [0.9, 0.3, 0.2]] == columns
    assert "loss\t0.5\t0.2" in rows


def test_view(page, watched):
    """Smoothing, a logarithmic axis and zooming change what is drawn; keys zoom too, and the choice outlasts a reload."""
    write_journal(watched.folder / "view", *(epoch(number, loss=float(1 + number % 2)) for number in range(100)))
    choose(page, "view")
    wait_for(lambda: page.evaluate("state.charts.get('loss')?.plot?.data[0].length === 100"))
    page.get_by_label("Smoothing").fill("0.9")
    smooth = page.evaluate("Array.from(state.charts.get('loss').plot.data[1]).slice(-2)")
    page.get_by_label("Logarithmic").check()
    page.get_by_role("img", name="Curve of loss").press("+")
    wait_for(lambda: page.evaluate("state.charts.get('loss').plot.scales.x.max < 80"))
    logarithmic = page.evaluate("state.charts.get('loss').plot.scales.y.distr")
    told = page.get_by_role("img", name="Curve of loss").get_attribute("aria-label")
    page.reload()
    wait_for(lambda: page.evaluate("state.charts.get('loss')?.plot?.data[0].length === 100"))
    kept = page.get_by_label("Logarithmic").is_checked()
    page.get_by_label("Logarithmic").uncheck()
    page.get_by_label("Smoothing").fill("0")

    assert abs(smooth[0] - 1.5) < 0.1 > abs(smooth[1] - 1.5)
    assert 3 == logarithmic
    assert kept
    assert told.startswith("Curve of loss. loss: now 2, from 1 to 2.")


def test_before_the_first_epoch(page, watched):
    """A run of which no epoch has ended says so, and shows its batches."""
    begun = {"kind": "batch", "time": 1000.5, "epoch": 0, "batch": 1, "step": 2, "logs": {"loss": 2.0}}
    write_journal(watched.folder / "young", begun, begun | {"batch": 3, "step": 4})
    choose(page, "young")
    page.get_by_text("No epoch has ended yet.").wait_for()
    page.get_by_label("Over").select_option("step")
    wait_for(lambda: newest(page) == 2)

    assert page.locator("#no-curves").is_hidden()
    page.get_by_label("Over").select_option("epoch")


def test_by_keyboard(page, watched):
    """All controls are reached by Tab, in order, with a focus that is seen."""
    write_journal(watched.folder / "keys", epoch(0, loss=1.0))
    choose(page, "keys")
    page.wait_for_selector("#controls")
    page.get_by_label("Search").focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
    wanted = ["Stop after batch", "Stop after epoch", "Save now", "number-value", "Set", "note-text", "Add", "smooth", "log"]

    assert wanted == [name for name in dict.fromkeys(seen) if name in wanted]


def test_script_in_a_name(page, watched):
    """What a run says is shown as text, wherever it stands: metrics, reasons, callbacks, file names."""
    evil = "<script>document.title='owned'</script>"
    note = {"kind": "note", "time": 1.0, "epoch": 0, "text": "<img src=x onerror=\"document.title='owned'\">"}
    end = {"kind": "end", "time": 2.0, "outcome": "failed", "reason": evil}
    write_journal(watched.folder / "<b>evil<script>", epoch(0, **{evil: 1.0, f"val_{evil}": 2.0}), note, end)
    choose(page, "<b>evil<script>")
    page.wait_for_selector("figure canvas")
    page.get_by_text("onerror").first.wait_for()

    assert evil == page.locator("figcaption b").inner_text()
    assert evil == page.locator("#reason").inner_text()
    assert "owned" not in page.title()
    assert 0 == page.locator("main script, main img, nav b").count()


def test_without_the_token(browser, watched):
    """Without its token the page shows no data, and says what to do."""
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(watched.base)
    opened.get_by_text("This page needs the address that jalon printed").wait_for()
    runs = opened.locator("#runs li").count()
    context.close()

    assert 0 == runs


@pytest.mark.parametrize("width", [390, 820, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_width(browser, watched, width, scheme):
    """At the width of a phone, a tablet and a desk nothing is cut off at the side, and buttons can be hit with a finger."""
    write_journal(watched.folder / "wide", *(epoch(number, loss=1.0, val_loss=2.0, learning_rate=0.1) for number in range(9)))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = context.new_page()
    opened.goto(f"{watched.address}&run=wide")
    opened.wait_for_selector("figure canvas")
    overflow = opened.evaluate("document.documentElement.scrollWidth - innerWidth")
    heights = [box.bounding_box()["height"] for box in opened.locator("#controls button").all()]
    back = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()

    assert 0 >= overflow
    assert min(heights) >= (44 if width == 390 else 36)
    assert ("rgb(251, 250, 247)" if scheme == "light" else "rgb(20, 22, 26)") == back


def test_started_by_fit(tmp_path):
    """fit(live=True) prints an address at which its page shows the run; no command line holds the token."""
    command = [sys.executable, TRAINING, str(tmp_path / "runs" / "a"), "1000", "live"]
    with ended_after(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        line = next(line for line in process.stdout if line.startswith("Live: "))
        base, _, rest = line.removeprefix("Live: ").strip().partition("/#token=")
        token = rest.partition("&")[0]

        def runs():
            try:
                with urlopen(Request(f"{base}/api/runs", headers={"Authorization": f"Bearer {token}"}), timeout=30) as answer:
                    return json.load(answer)
            except OSError:
                return None

        found = wait_for(runs)
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _children(process.pid)]
        for pid in _children(process.pid):
            os.kill(pid, signal.SIGKILL)

    assert ["a"] == [one["id"] for one in found]
    assert any(b"jalon.live" in one for one in lines)
    assert not any(token.encode() in one for one in lines)


def _children(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
