"use strict";
// Charts: one figure for each metric, with the curves of every run that is shown, and marks where something happened.

const COLORS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
const MARK_COLORS = { rate: "--c4", save: "--c2", best: "--good", warning: "--warn", nan: "--bad", error: "--bad", stop: "--bad", resumed: "--c5", set: "--c4", note: "--c3" };
const MARK_SIGNS = { rate: "▼", save: "●", best: "★", warning: "!", nan: "✖", error: "✖", stop: "■", resumed: "↻", set: "▼", note: "✎" };
const WHOLE = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function spoken(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0, total = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    total = total * weight + (1 - weight);
    return sum / total;
  });
}

// Puts the curves of several runs over one axis.
function joined(parts) {
  if (parts.length === 1) return [parts[0].x, ...parts[0].columns];
  const places = [...new Set(parts.flatMap((part) => part.x))].sort((a, b) => a - b);
  const rows = new Map(places.map((place, row) => [place, row]));
  const columns = parts.flatMap((part) => part.columns.map((values) => {
    const column = new Array(places.length).fill(undefined);
    part.x.forEach((place, row) => { column[rows.get(place)] = values[row]; });
    return column;
  }));
  return [places, ...columns];
}

class Chart {
  constructor(name, onZoom) {
    this.name = name;
    this.onZoom = onZoom;
    this.marks = [];
    this.figure = document.createElement("figure");
    this.figure.dataset.metric = name;
    const caption = document.createElement("figcaption");
    const title = document.createElement("b");
    title.textContent = name;
    this.told = document.createElement("span");
    caption.append(title, this.told);
    this.place = document.createElement("div");
    this.place.setAttribute("role", "img");
    this.place.tabIndex = 0;
    this.place.addEventListener("keydown", (event) => this.key(event));
    this.figure.append(caption, this.place);
    this.shape = "";
    this.resizes = new ResizeObserver(() => this.resize());
    this.resizes.observe(this.figure);
  }

  resize() {
    const width = this.figure.clientWidth - 22;
    if (this.plot && width > 50 && width !== this.plot.width) this.plot.setSize({ width, height: 240 });
  }

  // parts: for each run {label, x, series: {name: values}}
  show(parts, view, marks) {
    const shown = parts.map((part) => ({
      x: part.x,
      columns: Object.values(part.series).map((values) => smoothed(values, view.smooth)),
    }));
    const labels = parts.flatMap((part, run) => Object.keys(part.series).map((name) => ({
      name, run, label: parts.length > 1 ? `${part.label}: ${name}` : name,
    })));
    this.marks = marks;
    this.tell(parts);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const shape = JSON.stringify([labels, view.log, view.axis, dark]);
    const data = joined(shown);
    if (this.plot && shape === this.shape) {
      const zoomed = view.zoom !== null;
      this.plot.setData(data, !zoomed);
      if (zoomed) this.plot.setScale("x", { min: view.zoom[0], max: view.zoom[1] });
      return;
    }
    this.shape = shape;
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot(this.options(labels, view, parts.length), data, this.place);
    if (view.zoom) this.plot.setScale("x", { min: view.zoom[0], max: view.zoom[1] });
  }

  options(labels, view, runs) {
    const grid = { stroke: color("--line"), width: 1 };
    const axis = { stroke: color("--soft"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const unit = { epoch: "epoch", step: "step", time: "seconds" }[view.axis];
    return {
      width: Math.max(200, this.figure.clientWidth - 22), height: 240,
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      select: { show: true },
      legend: { markers: { dash: (plot, number) => plot.series[number].dash ? "dashed" : "solid" } },
      scales: { x: { time: false }, y: view.log ? { distr: 3 } : {} },
      axes: [{ ...axis, size: 34, incrs: view.axis === "time" ? undefined : WHOLE }, { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : spoken(tick)) }],
      series: [{ label: unit, value: (_, value) => value === null ? "–" : String(value) }, ...labels.map((one) => {
        const own = runs > 1 ? one.run : 0;
        const validation = one.name.startsWith("val_");
        const stroke = color(COLORS[(runs > 1 ? own : validation ? 1 : 0) % COLORS.length]);
        return {
          label: one.label, stroke, width: 2, spanGaps: true, dash: validation ? [6, 4] : undefined,
          value: (_, value) => spoken(value), points: { show: (plot, _, first, last) => last - first < 40, size: 5, fill: stroke },
        };
      })],
      hooks: {
        setSelect: [(plot) => {
          if (plot.select.width > 4) {
            this.onZoom([plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")]);
          }
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
        draw: [(plot) => this.drawMarks(plot)],
        ready: [(plot) => plot.over.addEventListener("dblclick", () => this.onZoom(null))],
      },
    };
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot, ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    for (const mark of this.marks) {
      const x = plot.valToPos(mark.x, "x", true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = color(MARK_COLORS[mark.kind] || "--soft");
      ctx.setLineDash([2 * ratio, 3 * ratio]);
      ctx.lineWidth = ratio;
      if (mark.kind !== "save") {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top + 12 * ratio);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.fillText(MARK_SIGNS[mark.kind] || "·", x, bbox.top + ({ save: bbox.height - 3 * ratio, best: 23 * ratio }[mark.kind] ?? 10 * ratio));
    }
    ctx.restore();
  }

  tell(parts) {
    const said = parts.flatMap((part) => Object.entries(part.series).map(([name, values]) => {
      const known = values.filter((value) => value !== null);
      return [parts.length > 1 ? `${part.label} ${name}` : name, known];
    }));
    this.told.textContent = said.map(([name, known]) => `${name} ${spoken(known.at(-1))}`).join(" · ");
    const words = said.map(([name, known]) => known.length
      ? `${name}: now ${spoken(known.at(-1))}, from ${spoken(Math.min(...known))} to ${spoken(Math.max(...known))}`
      : `${name}: no values`);
    this.place.setAttribute("aria-label", `Curve of ${this.name}. ${words.join("; ")}. Arrow keys move, plus and minus zoom, 0 shows all.`);
  }

  key(event) {
    const scale = this.plot && this.plot.scales.x;
    if (!scale || scale.min === null) return;
    const width = scale.max - scale.min, middle = (scale.min + scale.max) / 2;
    const moves = {
      "+": [middle - width / 4, middle + width / 4], "=": [middle - width / 4, middle + width / 4],
      "-": [middle - width, middle + width], "0": null,
      ArrowLeft: [scale.min - width / 5, scale.max - width / 5], ArrowRight: [scale.min + width / 5, scale.max + width / 5],
    };
    if (event.key in moves && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.onZoom(moves[event.key]);
    }
  }

  remove() {
    this.resizes.disconnect();
    if (this.plot) this.plot.destroy();
    this.figure.remove();
  }
}
