// A fitness: foretells scores from a few signals by ridge regression, less what a candidate's time is expected to cost. onnxruntime's
// kernels work on blocks of 8 channels, so a width of 17 takes the time of 24: the padded share is counted from the graph itself.
// Run: pare optimize model.onnx --flops 50% --data calib.json --plugin examples/plugins/latency-aware.mjs --fitness latency-aware

/** Score that twice the time would be worth giving up. */
const PRICE = 0.02;
const BLOCK = 8;

/** @type {readonly import('pare-onnx').PluginFitness[]} */
export const fitness = [
  {
    name: 'latency-aware',
    summary: 'ridge regression over losses and MACs, less the time that padded channels take',
    needsGraph: true,
    async create() {
      let model = { weights: [0, 0, 0, 0], deviation: 1 };
      return {
        name: 'latency-aware',
        async fit(samples) {
          model = ridge(
            samples.map((s) => features(s.signals)),
            samples.map((s) => s.score),
          );
        },
        async predict(candidates) {
          return candidates.map(({ graph, signals }) => {
            const score = features(signals).reduce((sum, x, i) => sum + x * model.weights[i], 0);
            return { mean: score - PRICE * Math.log2(padding(graph)), deviation: model.deviation };
          });
        },
      };
    },
  },
];

function features(signals) {
  return [1, ...['loss', 'loss:rms', 'macs'].map((name) => Math.log1p(Math.max(0, signals.get(name) ?? 0)))];
}

/** How many times more weights are multiplied than there are, widths rounded up to blocks. */
function padding(graph) {
  let [real, padded] = [1, 1];
  for (const { dims } of graph.initializers.values()) {
    if (dims.length < 2) continue;
    const up = dims.map((d, axis) => (axis < 2 && d > 1 ? Math.ceil(d / BLOCK) * BLOCK : d));
    real += dims.reduce((a, b) => a * b, 1);
    padded += up.reduce((a, b) => a * b, 1);
  }
  return padded / real;
}

/** Normal equations with a little ridge, by Gauss-Jordan. */
function ridge(rows, targets) {
  const n = rows[0]?.length ?? 0;
  const a = Array.from({ length: n }, (_, i) =>
    Array.from({ length: n + 1 }, (__, j) => {
      const sum = rows.reduce((s, r, k) => s + r[i] * (j < n ? r[j] : targets[k]), 0);
      return i === j ? sum + 1e-3 * rows.length : sum;
    }),
  );
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      if (k === i) continue;
      const f = a[k][i] / a[i][i];
      for (let j = i; j <= n; j++) a[k][j] -= f * a[i][j];
    }
  }
  const weights = a.map((row, i) => row[n] / row[i]);
  const errors = rows.map((r, k) => targets[k] - r.reduce((s, x, i) => s + x * weights[i], 0));
  const square = errors.reduce((s, e) => s + e * e, 0) / Math.max(1, rows.length - n);
  return { weights, deviation: Math.max(1e-4, Math.sqrt(square)) };
}
