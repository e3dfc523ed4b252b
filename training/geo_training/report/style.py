"""The look of a report and the script that draws its charts. Nothing is loaded from anywhere."""

CSS = """
:root { --ink: #1f2933; --muted: #5f6f7f; --line: #e1e7ec; --card: #ffffff; --page: #f5f7f9; --accent: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 0 0 .35rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.lead { font-size: 1.12rem; color: var(--ink); }
.note { color: var(--muted); font-size: .95rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.25rem 1.4rem;
  margin-top: 1.25rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: .8rem; margin-top: 1.25rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .9rem 1rem; }
.tile b { display: block; font-size: 1.4rem; white-space: nowrap; line-height: 1.15; letter-spacing: -.02em; }
.tile span { color: var(--muted); font-size: .88rem; }
.tile.good b { color: #13744a; } .tile.bad b { color: #b83232; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 1.25rem; }
.pair section { margin-top: 0; min-width: 0; } .pair { margin-top: 1.25rem; }
.chart { width: 100%; min-width: 0; overflow: hidden; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .94rem; }
th, td { text-align: right; padding: .4rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--muted); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; border-radius: 8px; display: block; }
figcaption { font-size: .88rem; color: var(--muted); margin-top: .3rem; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.key { font-weight: 600; } .key.ok { color: #13744a; } .key.no { color: #b83232; } .key.est { color: #1b7fb8; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: .4rem 0; font-size: .94rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem;
  overflow-x: auto; font-size: .86rem; margin: .5rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 1.2rem .7rem 3rem; } section { padding: 1rem .8rem; }
  h1 { font-size: 1.5rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { body { background: white; } section { break-inside: avoid; } }
"""

# Charts are drawn when they come into view, so that the page opens at once.
SCRIPT = """
(function () {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = {responsive: true, displaylogo: false, displayModeBar: false};
  function draw(node) {
    const chart = charts[node.dataset.chart];
    Plotly.newPlot(node, chart.data, chart.layout, config);
  }
  const nodes = document.querySelectorAll(".chart");
  nodes.forEach(node => { node.style.minHeight = charts[node.dataset.chart].layout.height + "px"; });
  if (!("IntersectionObserver" in window)) { nodes.forEach(draw); return; }
  const watch = new IntersectionObserver(entries => entries.forEach(entry => {
    if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target); }
  }), {rootMargin: "600px"});
  nodes.forEach(node => watch.observe(node));
})();
"""
