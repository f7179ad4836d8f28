"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const map = document.getElementById("map");
  const count = data.files.length;
  const MOST_PICTURES = 260, PICTURE = 40, STEP = 46;
  const picture = (i) => "data:image/webp;base64," + data.thumbnails[i];
  const name = (i) => data.files[i].split(/[\\/]/).pop();
  const label = (i) => (data.labels ? data.names[data.labels[i]] : "");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = 0;

  // Hues apart by the golden angle: neighbouring classes never look alike.
  const colour = (k) => `hsl(${Math.round((k * 137.508 + 210) % 360)}, 65%, ${dark.matches ? 62 : 44}%)`;

  function traces() {
    const groups = data.labels ? data.names.map((text, k) => [text, k]) : [["images", 0]];
    const points = groups.map(([text, k]) => {
      const rows = [...Array(count).keys()].filter((i) => !data.labels || data.labels[i] === k);
      return {
        type: "scatter", mode: "markers", name: text, customdata: rows,
        x: rows.map((i) => data.x[i]), y: rows.map((i) => data.y[i]), text: rows.map(name),
        hovertemplate: data.labels ? "%{text}<br>" + text.replace(/</g, "&lt;") + "<extra></extra>" : "%{text}<extra></extra>",
        marker: { size: 7, color: colour(k), opacity: 0.85 },
      };
    });
    const ring = (size, width) => ({
      type: "scatter", mode: "markers", x: [], y: [], hoverinfo: "skip", showlegend: false,
      marker: { size, symbol: "square-open", color: dark.matches ? "#7fb0ff" : "#1f5fbf", line: { width } },
    });
    return [...points, ring(PICTURE + 2, 2), ring(PICTURE + 8, 4)];
  }

  function layout(range) {
    const axis = { visible: false, zeroline: false, showgrid: false };
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 }, dragmode: "pan", hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: !!data.labels && data.names.length <= 20 && map.clientWidth > 500,
      legend: { bgcolor: dark.matches ? "rgba(32,34,38,.85)" : "rgba(255,255,255,.85)" },
      font: { color: dark.matches ? "#ececee" : "#1b1c1e" },
      xaxis: { ...axis, range: range.x }, yaxis: { ...axis, range: range.y }, images: pictures(range),
    };
  }

  // Of every cell of the view, as large as a thumbnail, the first image that lies in it.
  function pictures(range) {
    const width = map.clientWidth, height = map.clientHeight;
    const [x0, x1] = range.x, [y0, y1] = range.y;
    const taken = new Set(), found = [];
    const rows = [chosen, ...(data.near[chosen] || []), ...Array(count).keys()];
    for (const i of rows) {
      const u = (data.x[i] - x0) / (x1 - x0), v = (data.y[i] - y0) / (y1 - y0);
      if (u < 0 || u > 1 || v < 0 || v > 1) continue;
      const cell = Math.floor((u * width) / STEP) + ":" + Math.floor((v * height) / STEP);
      if (taken.has(cell)) continue;
      taken.add(cell);
      found.push({
        source: picture(i), xref: "x", yref: "y", x: data.x[i], y: data.y[i], xanchor: "center", yanchor: "middle",
        sizex: (PICTURE / width) * (x1 - x0), sizey: (PICTURE / height) * (y1 - y0), sizing: "contain", layer: "above",
      });
      if (found.length === MOST_PICTURES) break;
    }
    return found.reverse();
  }

  const whole = { x: [-1.08, 1.08], y: [-1.08, 1.08] };
  let view = { x: [...whole.x], y: [...whole.y] }, waiting = 0;

  function moved(range) {
    view = range;
    return Plotly.relayout(map, { "xaxis.range": range.x, "yaxis.range": range.y, images: pictures(range) });
  }

  function scaled([low, high], factor, shift) {
    const middle = (low + high) / 2 + shift * (high - low), half = ((high - low) / 2) * factor;
    return [middle - half, middle + half];
  }

  const step = (factor, right, up) => moved({ x: scaled(view.x, factor, right), y: scaled(view.y, factor, up) });

  function button(i, text) {
    const item = document.createElement("button"), image = document.createElement("img");
    item.type = "button";
    image.src = picture(i);
    image.alt = "";
    item.setAttribute("aria-label", [name(i), label(i), text].filter(Boolean).join(", "));
    item.title = name(i);
    item.dataset.image = i;
    item.append(image);
    item.addEventListener("click", () => choose(i, true));
    return item;
  }

  function list(id, rows, none) {
    const place = document.getElementById(id);
    place.replaceChildren(...rows.map(([images, text]) => {
      const row = document.createElement("li"), said = document.createElement("div");
      row.append(...images.map((i) => button(i, text)), said);
      said.textContent = text;
      return row;
    }));
    if (!rows.length) place.append(Object.assign(document.createElement("li"), { textContent: none }));
  }

  function choose(i, show) {
    chosen = i;
    const place = document.getElementById("chosen"), image = document.createElement("img");
    const words = document.createElement("div");
    image.src = picture(i);
    image.alt = name(i);
    for (const text of [label(i), data.files[i]]) {
      if (text) words.append(Object.assign(document.createElement("p"), { textContent: text }));
    }
    place.replaceChildren(image, words);
    list("near", (data.near[i] || []).map((j, k) => [[j], data.alike[i][k].toFixed(2)]), "There are no others.");
    document.querySelectorAll("[data-image]").forEach((b) => b.setAttribute("aria-pressed", +b.dataset.image === i));
    const rings = [data.near[i] || [], [i]];
    const first = map.data.length - 2;
    Plotly.restyle(map, {
      x: rings.map((rows) => rows.map((j) => data.x[j])), y: rings.map((rows) => rows.map((j) => data.y[j])),
    }, [first, first + 1]);
    const inside = (v, [low, high]) => v >= low && v <= high;
    if (show && !(inside(data.x[i], view.x) && inside(data.y[i], view.y))) {
      const around = (v, [low, high]) => [v - (high - low) / 2, v + (high - low) / 2];
      return moved({ x: around(data.x[i], view.x), y: around(data.y[i], view.y) });
    }
    return moved(view);
  }

  function nearestTo(x, y) {
    const width = view.x[1] - view.x[0], height = view.y[1] - view.y[0];
    let best = 0, least = Infinity;
    for (let i = 0; i < count; i++) {
      const d = ((data.x[i] - x) / width) ** 2 + ((data.y[i] - y) / height) ** 2;
      if (d < least) [best, least] = [i, d];
    }
    return best;
  }

  map.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => step(1, -0.15, 0), ArrowRight: () => step(1, 0.15, 0), ArrowUp: () => step(1, 0, 0.15),
      ArrowDown: () => step(1, 0, -0.15), "+": () => step(0.7, 0, 0), "=": () => step(0.7, 0, 0),
      "-": () => step(1 / 0.7, 0, 0), 0: () => moved({ x: [...whole.x], y: [...whole.y] }),
      Enter: () => choose(nearestTo((view.x[0] + view.x[1]) / 2, (view.y[0] + view.y[1]) / 2), false),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  document.getElementById("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = document.getElementById("query").value.toLowerCase();
    for (let k = 1; wanted && k <= count; k++) {
      const i = (chosen + k) % count;
      if (data.files[i].toLowerCase().includes(wanted)) return choose(i, true);
    }
  });

  function draw() {
    const options = { displayModeBar: false, scrollZoom: true, responsive: true, doubleClick: false };
    return Plotly.react(map, traces(), layout(view), options).then(() => choose(chosen, false));
  }

  list("duplicates", data.duplicates.map(([i, j, s]) => [[i, j], s.toFixed(2)]), "There are none.");
  list("outliers", data.outliers.map(([i, s]) => [[i], s.toFixed(2)]), "There are none.");
  draw().then(() => {
    map.on("plotly_click", (event) => {
      const at = event.points[0];
      if (at && at.customdata !== undefined) choose(at.customdata, false);
    });
    map.on("plotly_relayout", (change) => {
      if (!("xaxis.range[0]" in change)) return; // our own moves name whole ranges
      view = { x: [...map.layout.xaxis.range], y: [...map.layout.yaxis.range] };
      clearTimeout(waiting);
      waiting = setTimeout(() => moved(view), 80);
    });
    document.body.dataset.ready = "yes";
  });
  dark.addEventListener("change", draw);
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 120);
  });
})();
