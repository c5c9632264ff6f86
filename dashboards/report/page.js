"use strict";
// Draws the figures in the page's theme, and hides the trials that the filters leave out.
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
    displayModeBar: window.innerWidth < 760 ? false : "hover" };
  const off = { family: new Set(), state: new Set() };
  const perPoint = ["x", "y", "text", "customdata", "base", "hovertext"];
  let words = [];

  const isKept = (trial) =>
    !off.family.has(trial.family) &&
    !off.state.has(trial.state) &&
    words.every((word) => trial.words.includes(word));
  let kept = new Set(report.trials.map((trial) => trial.number));

  function masked(trace) {
    if (trace.meta && trace.meta.trial !== undefined) {
      return { ...trace, visible: kept.has(trace.meta.trial) };
    }
    if (trace.meta && trace.meta.trials) {
      const keep = trace.meta.trials.map((n) => kept.has(n));
      const pick = (list) => list.filter((_, i) => keep[i]);
      return {
        ...trace,
        line: { ...trace.line, color: pick(trace.line.color) },
        dimensions: trace.dimensions.map((d) => ({ ...d, values: pick(d.values) })),
      };
    }
    if (!trace.customdata) return trace;
    const keep = trace.customdata.map((n) => kept.has(n));
    const pick = (list) => list.filter((_, i) => keep[i]);
    const shown = { ...trace };
    for (const key of perPoint) if (Array.isArray(trace[key])) shown[key] = pick(trace[key]);
    if (trace.marker) {
      shown.marker = { ...trace.marker };
      for (const key of ["symbol", "color"])
        if (Array.isArray(trace.marker[key])) shown.marker[key] = pick(trace.marker[key]);
    }
    return shown;
  }

  function themed(layout) {
    const style = getComputedStyle(root);
    const [ink, line, card] = ["--ink", "--line", "--card"].map((name) => style.getPropertyValue(name).trim());
    const narrow = window.innerWidth < 760;
    const axes = {};
    for (const key of ["xaxis", "yaxis", "xaxis2", "yaxis2"])
      if (layout[key] || key === "xaxis" || key === "yaxis")
        axes[key] = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, ...layout[key] };
    return {
      margin: { l: narrow ? 46 : 60, r: narrow ? 8 : 20, t: 20, b: 46 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hovermode: "closest",
      ...layout,
      ...axes,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: narrow ? 11 : 12.5 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink }, align: "left" },
    };
  }

  // A figure is drawn when it comes near the window: a long report opens at once.
  const drawn = new Set();
  function draw(i) {
    const figure = report.figures[i];
    drawn.add(i);
    return Plotly.react(`figure-${i}`, figure.traces.map(masked), themed(figure.layout), config);
  }
  const watch = new IntersectionObserver(
    (entries) => entries.forEach((e) => e.isIntersecting && !drawn.has(+e.target.dataset.figure) && draw(+e.target.dataset.figure)),
    { rootMargin: "600px" },
  );
  document.querySelectorAll("[data-figure]").forEach((node) => watch.observe(node));

  function refresh() {
    kept = new Set(report.trials.filter(isKept).map((trial) => trial.number));
    drawn.forEach(draw);
    document.querySelectorAll("tr[data-trial]").forEach((row) => {
      row.hidden = !kept.has(+row.dataset.trial);
    });
    document.querySelectorAll("table").forEach(fold);
    const all = report.trials.length;
    document.getElementById("count").textContent = kept.size === all ? `${all} trials` : `${kept.size} of ${all} trials`;
  }

  function chip(kind, name, tint) {
    const button = document.createElement("button");
    button.className = "chip";
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    if (tint) {
      const dot = document.createElement("i");
      dot.style.background = tint;
      button.append(dot);
    }
    button.append(name);
    button.addEventListener("click", () => {
      const hide = !off[kind].has(name);
      hide ? off[kind].add(name) : off[kind].delete(name);
      button.setAttribute("aria-pressed", String(!hide));
      refresh();
    });
    return button;
  }
  const chips = document.getElementById("chips");
  for (const [name, tint] of Object.entries(report.families)) chips.append(chip("family", name, tint));
  for (const name of report.states) chips.append(chip("state", name, null));

  document.getElementById("words").addEventListener("input", (event) => {
    words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    refresh();
  });

  document.getElementById("theme").addEventListener("click", () => {
    const systemDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : systemDark;
    root.dataset.theme = isDark ? "light" : "dark";
    drawn.forEach(draw);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));

  // Tables sort by the column that is clicked, numbers as numbers; a second click turns it round.
  document.querySelectorAll("th").forEach((head) =>
    head.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0];
      const column = head.cellIndex;
      const up = head.dataset.sorted !== "up";
      head.dataset.sorted = up ? "up" : "down";
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) => {
        const [p, q] = [key(a), key(b)];
        const byNumber = p !== "" && q !== "" && !isNaN(p) && !isNaN(q);
        const order = byNumber ? p - q : p.localeCompare(q);
        return up ? order : -order;
      });
      body.append(...rows);
      fold(head.closest("table"));
    }),
  );

  // A long table shows its first rows, of those that the filters keep, until all are asked for.
  function fold(table) {
    const most = +(table.dataset.rows ?? Infinity);
    [...table.tBodies[0].rows]
      .filter((row) => !row.hidden)
      .forEach((row, i) => row.classList.toggle("folded", i >= most));
  }
  document.querySelectorAll("button.more").forEach((button) =>
    button.addEventListener("click", () => {
      const table = button.parentElement.querySelector("table");
      delete table.dataset.rows;
      fold(table);
      button.remove();
    }),
  );

  refresh();
})();
