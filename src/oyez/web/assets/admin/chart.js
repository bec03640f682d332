// A chart of the last minutes: lines over time, with the values below the title.
import { html, useEffect, useRef, useState } from "../html.js";

// Without it, the values are shown alone: it needs a language that the browser knows.
const library = import("uplot").then(
  ({ default: UPlot }) => UPlot,
  (error) => {
    console.warn("Charts are not drawn:", error);
    return null;
  },
);

const HEIGHT = 150;
const COLOURS = ["--accent", "--good", "--warn", "--bad"];

const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });

const readColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const buildOptions = (lines, sparse, show, onCursor) => {
  const axis = { stroke: readColour("--faint"), grid: { stroke: readColour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return {
    width: 100,
    height: HEIGHT,
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, space: 80, size: 24, values: (plot, values) => values.map((value) => clock.format(value * 1000)) },
      { ...axis, size: 58, space: 34, values: (plot, values) => values.map((value) => show(value)) },
    ],
    // Seconds without values are left out, and a single one between them has no line.
    series: [{}, ...lines.map((line, index) => ({ stroke: readColour(COLOURS[index]), width: 1.6, points: { show: sparse, size: 3 } }))],
    hooks: { setCursor: [(plot) => onCursor(plot.cursor.idx)] },
  };
};

// `lines` are {name, values}, as long as `times` (seconds since 1970); `show` writes a value. `sparse`: values may be null.
export const Chart = ({ title, times, lines, sparse = false, show }) => {
  const place = useRef(null);
  const plot = useRef(null);
  const [cursor, setCursor] = useState(null);
  const data = [times, ...lines.map((line) => line.values)];
  const latest = useRef(data);
  latest.current = data;
  const names = lines.map((line) => line.name).join();
  useEffect(() => {
    let ended = false;
    const build = async () => {
      const UPlot = await library;
      if (ended || !UPlot) return;
      plot.current?.destroy();
      plot.current = new UPlot(buildOptions(lines, sparse, show, setCursor), latest.current, place.current);
      fit();
    };
    const fit = () => place.current && plot.current?.setSize({ width: Math.max(100, place.current.clientWidth), height: HEIGHT });
    build();
    const sizes = new ResizeObserver(fit);
    sizes.observe(place.current);
    const themes = new MutationObserver(build);
    themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      ended = true;
      sizes.disconnect();
      themes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [names]);
  useEffect(() => plot.current?.setData(data), [times]);
  const index = cursor === null || cursor === undefined ? times.length - 1 : cursor;
  return html`<figure class="chart">
    <figcaption>
      <span class="chart-title">${title}</span>
      <span class="chart-values">
        ${lines.map(
          (line, number) => html`<span class="chart-value" key=${line.name}><span class=${`line line-${number}`} aria-hidden="true"></span>${line.name} <strong>${show(line.values[index] ?? null)}</strong></span>`,
        )}
      </span>
    </figcaption>
    <div class="chart-place" ref=${place} aria-hidden="true"></div>
  </figure>`;
};
