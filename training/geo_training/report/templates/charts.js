// Charts are drawn when they come into view, so that the page opens at once.
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
