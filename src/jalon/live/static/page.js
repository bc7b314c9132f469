"use strict";
// The page: asks the server for runs, shows them, and gives commands. Whatever comes from a run is put into the page as text.

const POLL = 500, LIST_POLL = 2000, MOST_COMPARED = 8;
const by = (id) => document.getElementById(id);

// ---- the token, which comes in the part of the address that browsers keep to themselves ------------------------------------

const given = new URLSearchParams(location.hash.slice(1));
if (given.get("token")) sessionStorage.setItem("token", given.get("token"));
if (given.get("run")) sessionStorage.setItem("run", given.get("run"));
if (location.hash) history.replaceState(null, "", location.pathname);
const token = sessionStorage.getItem("token") || "";

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, cache: "no-store", headers: { ...options.headers, Authorization: `Bearer ${token}` } });
  if (answer.status === 401) throw new Error("This page needs the address that jalon printed, token included. Open that one.");
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error || `The server answered ${answer.status}.`);
  return said;
}

// ---- what is shown ----------------------------------------------------------------------------------------------------------

const view = { axis: "epoch", smooth: 0, log: false, marks: true, zoom: null, ...JSON.parse(localStorage.getItem("view") || "{}"), zoom: null };
const state = {
  list: [], shown: sessionStorage.getItem("run"), compared: new Set(JSON.parse(sessionStorage.getItem("compared") || "[]")),
  known: new Map(), charts: new Map(), busy: false,
};

function keep() {
  localStorage.setItem("view", JSON.stringify({ ...view, zoom: null }));
  sessionStorage.setItem("compared", JSON.stringify([...state.compared]));
  if (state.shown) sessionStorage.setItem("run", state.shown);
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined || !isFinite(seconds)) return "–";
  const all = Math.round(seconds), h = Math.floor(all / 3600), m = Math.floor(all / 60) % 60, s = all % 60;
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : seconds < 10 ? `${seconds.toPrecision(2)} s` : `${s} s`;
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString();

// ---- the list of runs -------------------------------------------------------------------------------------------------------

async function list() {
  try {
    state.list = await ask(`api/runs?search=${encodeURIComponent(by("search").value)}`);
    by("connection").textContent = "";
    if (!state.shown && state.list.length) choose(state.list[0].id);
    showList();
  } catch (fault) {
    by("connection").textContent = fault instanceof TypeError ? "The page's server does not answer. Runs go on without it." : fault.message;
  }
}

function showList() {
  by("count").textContent = `(${state.list.length})`;
  const place = by("runs"), there = new Map([...place.children].map((item) => [item.dataset.id, item]));
  for (const run of state.list) {
    const item = there.get(run.id) || newItem(run.id);
    there.delete(run.id);
    const [box, button] = item.children;
    box.checked = run.id === state.shown || state.compared.has(run.id);
    button.setAttribute("aria-current", String(run.id === state.shown));
    const best = run.best ? ` · best ${run.best.monitor} ${spoken(run.best.value)}` : "";
    const epochs = run.epochs ? `${run.epochs_done}/${run.epochs}` : `${run.epochs_done}`;
    const text = `${run.state} · ${epochs} epochs${best}`;
    if (button.lastChild.textContent !== text) button.lastChild.textContent = text;
    place.append(item);
  }
  for (const gone of there.values()) gone.remove();
}

function newItem(id) {
  const item = element("li");
  item.dataset.id = id;
  const box = element("input", undefined, { type: "checkbox", "aria-label": `Compare ${id}` });
  box.addEventListener("change", () => {
    if (box.checked && state.compared.size < MOST_COMPARED) state.compared.add(id); else state.compared.delete(id);
    keep();
    refresh();
  });
  const button = element("button", id, { type: "button" });
  button.append(element("small", ""));
  button.addEventListener("click", () => choose(id));
  item.append(box, button);
  return item;
}

function choose(id) {
  state.compared.delete(state.shown);
  state.compared.delete(id);
  state.shown = id;
  view.zoom = null;
  by("answer").textContent = "";
  keep();
  showList();
  if (matchMedia("(max-width: 760px)").matches) by("list-box").open = false;
  refresh();
}

// ---- the runs that are shown ------------------------------------------------------------------------------------------------

async function load(id) {
  const known = state.known.get(id);
  const key = JSON.stringify([view.axis, view.zoom]);
  const query = new URLSearchParams({ id, axis: view.axis, width: Math.round(innerWidth * Math.min(devicePixelRatio, 2) / 2) });
  if (view.zoom) { query.set("begin", view.zoom[0]); query.set("end", view.zoom[1]); }
  if (known && known.key === key && known.curves) query.set("known", known.version);
  const run = await ask(`api/run?${query}`);
  run.key = key;
  if (!run.curves && known) run.curves = known.curves;
  state.known.set(id, run);
  return run;
}

async function refresh() {
  if (!state.shown || state.busy) { state.again = state.busy; return; }
  state.busy = true;
  const began = performance.now();
  try {
    const ids = [state.shown, ...[...state.compared].filter((id) => id !== state.shown)];
    const runs = (await Promise.all(ids.map((id) => load(id).catch((fault) => { state.compared.delete(id); if (id === state.shown) throw fault; })))).filter(Boolean);
    show(runs[0]);
    showCharts(runs);
    showCompared(runs);
    by("connection").textContent = "";
    state.hurry = runs.some((run) => !run.complete);
  } catch (fault) {
    by("connection").textContent = fault instanceof TypeError ? "The page's server does not answer. Runs go on without it." : fault.message;
  } finally {
    state.busy = false;
    clearTimeout(state.timer);
    const took = performance.now() - began;
    const wait = state.again || state.hurry ? 0 : document.hidden ? 5000 : Math.max(POLL, 4 * took);
    state.again = false;
    state.timer = setTimeout(refresh, wait);
  }
}

function show(run) {
  by("empty").hidden = true;
  by("shown").hidden = false;
  by("title").textContent = run.id;
  document.title = `${run.state}: ${run.id} – jalon`;
  by("state").textContent = run.state;
  by("state").className = `state ${run.state}`;
  by("reason").textContent = reason(run);
  showProgress(run);
  showControls(run);
  showEvents(run);
  showValues(run);
  showSetup(run);
  const load = run.system, own = load.process ? ` · this run ${(load.process.memory / 2 ** 30).toFixed(2)} GiB` : "";
  by("system").textContent = `${load.host}: processors ${Math.round(load.processors)} % · memory ${Math.round(load.memory)} %${own}`;
  by("loading").hidden = run.complete;
  by("loading").textContent = "Reading a long record …";
}

function reason(run) {
  if (run.state === "dead") return "Its process is gone without an end. Start the program again to go on from its backup.";
  if (run.state === "silent") return "It runs on another machine and has written nothing for a minute.";
  return run.reason || "";
}

function showProgress(run) {
  const at = run.progress, facts = [];
  by("bar").hidden = at.share === null;
  by("bar").value = at.share || 0;
  facts.push(["Epoch", run.epochs ? `${Math.min(at.epoch + 1, run.epochs)} of ${run.epochs}` : String(run.epochs_done)]);
  if (at.batch !== null && at.steps && run.state === "running") facts.push(["Batch", `${at.batch + 1} of ${at.steps}`]);
  if (at.seconds_left !== null) facts.push(["Left", duration(at.seconds_left)]);
  if (at.seconds_per_epoch !== null) facts.push(["An epoch", duration(at.seconds_per_epoch)]);
  if (at.steps_per_second) facts.push(["Pace", `${spoken(at.steps_per_second)} batches/s`]);
  if (run.last.learning_rate !== undefined) facts.push(["Learning rate", spoken(run.last.learning_rate)]);
  if (run.best) facts.push([`Best ${run.best.monitor}`, `${spoken(run.best.value)} in epoch ${run.best.epoch + 1}`]);
  by("facts").replaceChildren(...facts.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  }));
}

function showControls(run) {
  const steered = run.kind === "journal" && ["running", "paused", "silent"].includes(run.state);
  by("controls").hidden = !steered;
  document.querySelector("[data-command=pause]").disabled = run.state === "paused";
  document.querySelector("[data-command=resume]").disabled = run.state === "running";
  const names = Object.keys(run.steerable), select = by("number-name");
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...names.map((name) => element("option", name, { value: name })));
  }
  const chosen = run.steerable[select.value];
  by("number-value").placeholder = chosen ? spoken(chosen.value) : "";
}

const TOLD = {
  save: (m) => m.path ? `${m.path}${m.best ? `, the best ${m.monitor} so far: ${spoken(m.value)}` : ""}` : "the run itself",
  rate: (m) => `${spoken(m.was)} → ${spoken(m.value)} by ${m.who}`,
  set: (m) => `${m.who}: ${spoken(m.was)} → ${spoken(m.value)}`,
  stop: (m) => m.reason || "",
  warning: (m) => m.text, error: (m) => `${m.error}: ${m.text}`, note: (m) => m.text, nan: (m) => m.text,
  command: (m) => `${m.command}: ${m.text}`, resumed: () => "gone on with after an interruption",
};

function showEvents(run) {
  const marks = run.marks.filter((mark) => !(mark.kind === "command" && mark.command === "note")).slice(-100).reverse();
  const key = JSON.stringify(marks);
  if (by("events").dataset.key === key) return;
  by("events").dataset.key = key;
  by("events").replaceChildren(...marks.map((mark) => {
    const item = element("li"), where = mark.epoch === undefined || mark.epoch === null ? "" : `epoch ${mark.epoch + 1} · `;
    item.append(element("time", clock(mark.time)), element("span", `${MARK_SIGNS[mark.kind] || "·"} ${mark.kind}`, { class: "tag" }));
    item.append(`${where}${(TOLD[mark.kind] || (() => ""))(mark)}`);
    return item;
  }));
}

function showValues(run) {
  if (view.axis !== "epoch" || !run.curves) return;
  const rows = new Map();
  for (const chart of run.curves) {
    for (const [name, values] of Object.entries(chart.series)) {
      chart.x.slice(-20).forEach((place, row, all) => rows.set(place, { ...rows.get(place), [name]: values[values.length - all.length + row] }));
    }
  }
  const names = run.curves.flatMap((chart) => Object.keys(chart.series));
  table(by("values"), ["epoch", ...names], [...rows].slice(-20).map(([place, row]) => [String(place), ...names.map((name) => spoken(row[name]))]));
}

function table(place, header, rows) {
  const key = JSON.stringify([header, rows]);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const head = element("tr"), body = rows.map((row) => {
    const line = element("tr");
    line.append(...row.map((cell, number) => element(number ? "td" : "th", cell, number ? {} : { scope: "row" })));
    return line;
  });
  head.append(...header.map((cell) => element("th", cell, { scope: "col" })));
  place.replaceChildren(head, ...body);
}

function showSetup(run) {
  const pairs = Object.entries(run.callbacks).map(([name, set]) => [name, Object.entries(set).map(([key, value]) => `${key}=${value}`).join(", ") || "–"]);
  pairs.push(...Object.entries(run.versions));
  if (run.process && run.process.pid) pairs.push(["process", `${run.process.pid} on ${run.process.host}`]);
  const key = JSON.stringify(pairs);
  if (by("setup").dataset.key === key) return;
  by("setup").dataset.key = key;
  by("setup").replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
}

function showCompared(runs) {
  by("compare").hidden = runs.length < 2;
  if (runs.length < 2) return;
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.last)))];
  const rows = [
    ["state", ...runs.map((run) => run.state)],
    ["epochs", ...runs.map((run) => String(run.epochs_done))],
    ["best", ...runs.map((run) => run.best ? `${spoken(run.best.value)} (${run.best.monitor}, epoch ${run.best.epoch + 1})` : "–")],
    ...names.map((name) => [name, ...runs.map((run) => spoken(run.last[name]))]),
    ...different(runs),
  ];
  table(by("compare-table"), ["", ...runs.map((run) => run.id)], rows);
}

function different(runs) {
  const flat = runs.map((run) => Object.fromEntries(Object.entries(run.callbacks).flatMap(([label, set]) => Object.entries(set).map(([key, value]) => [`${label}.${key}`, String(value)]))));
  const names = [...new Set(flat.flatMap((one) => Object.keys(one)))];
  return names.filter((name) => new Set(flat.map((one) => one[name])).size > 1).map((name) => [name, ...flat.map((one) => one[name] ?? "–")]);
}

// ---- curves -----------------------------------------------------------------------------------------------------------------

function marksOf(run) {
  if (!view.marks || view.axis === "time") return [];
  const place = (mark) => view.axis === "epoch" ? (mark.epoch ?? NaN) + 1 : mark.step;
  const marks = run.marks.filter((mark) => mark.kind in MARK_COLORS).map((mark) => ({ kind: mark.kind, x: place(mark) }));
  if (run.best && view.axis === "epoch") marks.push({ kind: "best", x: run.best.epoch + 1 });
  return marks.filter((mark) => isFinite(mark.x)).slice(-200);
}

function showCharts(runs) {
  const names = [...new Set(runs.flatMap((run) => (run.curves || []).map((chart) => chart.name)))].slice(0, 60);
  by("no-curves").hidden = names.length > 0 || !runs[0].complete;
  by("no-curves").textContent = view.axis === "epoch" ? "No epoch has ended yet. Batches may be there: choose them above." : "Nothing was recorded over this.";
  const marks = runs.length === 1 ? marksOf(runs[0]) : [];
  for (const [name, chart] of state.charts) {
    if (!names.includes(name)) { chart.remove(); state.charts.delete(name); }
  }
  for (const name of names) {
    let chart = state.charts.get(name);
    if (!chart) {
      chart = new Chart(name, zoom);
      state.charts.set(name, chart);
      by("charts").append(chart.figure);
    }
    const parts = runs.flatMap((run) => (run.curves || []).filter((one) => one.name === name).map((one) => ({ label: run.id, ...one })));
    const key = JSON.stringify([runs.map((run) => [run.id, run.version, run.key]), view, marks, matchMedia("(prefers-color-scheme: dark)").matches]);
    if (chart.drawn !== key) { chart.drawn = key; chart.show(parts, view, marks); }
  }
}

function zoom(range) {
  view.zoom = range;
  refresh();
}

// ---- commands ---------------------------------------------------------------------------------------------------------------

async function command(name, args = {}) {
  const place = by("answer"), run = state.shown;
  place.className = "";
  place.textContent = `${name}: waiting for the end of the batch …`;
  try {
    const { id } = await ask("api/command", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ run, command: name, arguments: args }),
    });
    const query = new URLSearchParams({ run, id });
    for (let tries = 0; tries < 1200; tries++) {
      const answer = await ask(`api/answer?${query}`);
      if (answer) {
        place.className = answer.outcome;
        place.textContent = answer.text;
        refresh();
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    place.textContent = `${name}: no answer for five minutes. It is done when the batch ends.`;
  } catch (fault) {
    place.className = "refused";
    place.textContent = fault.message;
  }
}

for (const button of document.querySelectorAll("[data-command]")) {
  button.addEventListener("click", () => command(button.dataset.command, button.dataset.at ? { at: button.dataset.at } : {}));
}
function setNumber() {
  const text = by("number-value").value.trim(), value = Number(text.replace(",", "."));
  if (!text || !isFinite(value)) { by("answer").className = "refused"; by("answer").textContent = "Give a number, as 0.001."; return; }
  command("set", { name: by("number-name").value, value });
  by("number-value").value = "";
}
function addNote() {
  if (by("note-text").value.trim()) command("note", { text: by("note-text").value });
  by("note-text").value = "";
}
by("set").addEventListener("click", setNumber);
by("note").addEventListener("click", addNote);
by("controls").addEventListener("submit", (event) => event.preventDefault());
by("number-value").addEventListener("keydown", (event) => { if (event.key === "Enter") setNumber(); });
by("note-text").addEventListener("keydown", (event) => { if (event.key === "Enter") addNote(); });
by("number-name").addEventListener("change", () => { const run = state.known.get(state.shown); if (run) showControls(run); });

// ---- the view ---------------------------------------------------------------------------------------------------------------

function changed() {
  view.axis = by("axis").value;
  view.smooth = Number(by("smooth").value);
  view.log = by("log").checked;
  view.marks = by("show-marks").checked;
  by("smooth-shown").textContent = view.smooth.toFixed(2);
  keep();
  const runs = [state.shown, ...state.compared].map((id) => state.known.get(id)).filter(Boolean);
  if (runs.length && runs[0].curves) showCharts(runs);
}
by("axis").value = view.axis;
by("smooth").value = view.smooth;
by("smooth-shown").textContent = Number(view.smooth).toFixed(2);
by("log").checked = view.log;
by("show-marks").checked = view.marks;
for (const id of ["smooth", "log", "show-marks"]) by(id).addEventListener("input", changed);
by("axis").addEventListener("change", () => { view.zoom = null; changed(); refresh(); });
by("zoom-out").addEventListener("click", () => zoom(null));
by("zoom-in").addEventListener("click", () => {
  const chart = state.charts.values().next().value;
  if (chart && chart.plot) { const { min, max } = chart.plot.scales.x; zoom([min + (max - min) / 2, max]); }
});
by("search").addEventListener("input", list);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
document.addEventListener("visibilitychange", () => { if (!document.hidden) { clearTimeout(state.timer); refresh(); } });

if (matchMedia("(max-width: 760px)").matches) by("list-box").open = !state.shown;
refresh();
list();
setInterval(list, LIST_POLL);
