// The law of every operator's channel rule: random networks around it, random channels cut by the real analysis, pruned == masked in
// onnxruntime. `npm run bench -- channel-law [GRAPHS PER OPERATOR (1000)] [OPERATOR ...]`. Files of violations go to the temporary folder.

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { operators } from '../src/ops/index.js';
import { operatorCases, tryOperator } from '../test/analysis/operator-law.js';

export async function run(args: string[]): Promise<void> {
  const graphs = Number(args[0] ?? 1000);
  const wanted = new Set(args.slice(1));
  const reached = new Set(operatorCases.map((c) => c.operator));
  const rules = new Set(
    operators
      .filter((o) => o.channels !== undefined)
      .map((o) => ((o.domain ?? '') === '' ? o.opType : `${o.domain}:${o.opType}`)),
  );
  let folder: string | undefined;
  const total = { graphs: 0, cut: 0, violations: 0 };
  console.log('| operator | graphs | cut | frozen | other | violations | reasons |');
  console.log('|---|---|---|---|---|---|---|');
  for (const name of [...new Set(operatorCases.map((c) => c.operator))].toSorted()) {
    if (wanted.size > 0 && !wanted.has(name)) continue;
    const makers = operatorCases.filter((c) => c.operator === name);
    const counts = { cut: 0, frozen: 0, spared: 0, unlabelled: 0, violation: 0, 'not run': 0 };
    const reasons = new Map<string, number>();
    const note = (reason: string): void => void reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    for (let n = 0; n < graphs; n++) {
      const outcome = await tryOperator(makers[n % makers.length]!, n);
      counts[outcome.kind]++;
      if (outcome.kind === 'frozen') outcome.reasons.forEach(note);
      if (outcome.kind === 'not run') note(`not run: ${outcome.reason.slice(0, 120)}`);
      if (outcome.kind === 'violation') {
        folder ??= mkdtempSync(join(tmpdir(), 'pare-channel-law-'));
        const file = join(folder, `${name.replace(':', '_')}-${n}.onnx`);
        writeFileSync(file, outcome.model);
        note(`VIOLATION ${outcome.reason} (${file})`);
      }
      // a runtime without a kernel for it says so every time
      if (n === 30 && counts['not run'] === 31) break;
    }
    const ran = graphs - counts['not run'];
    total.graphs += counts.cut + counts.frozen + counts.spared + counts.unlabelled + counts.violation;
    total.cut += counts.cut;
    total.violations += counts.violation;
    const shown = [...reasons]
      .toSorted((a, b) => b[1] - a[1])
      .slice(0, 6)
      .map(([reason, times]) => `${times} ${reason}`);
    const cells = [name, ran, counts.cut, counts.frozen, counts.spared + counts.unlabelled, counts.violation];
    console.log(`| ${[...cells, shown.join('; ').replaceAll('|', '/').replaceAll('\n', ' ')].join(' | ')} |`);
  }
  console.log(`\n${total.graphs} networks, ${total.cut} of them cut at the operator, ${total.violations} violations`);
  const missing = [...rules].filter((name) => !reached.has(name)).toSorted();
  console.log(`channel rules that no generator reaches: ${missing.length === 0 ? 'none' : missing.join(' ')}`);
}
