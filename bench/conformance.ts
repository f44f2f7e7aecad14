// How many of ONNX's own operator cases our shape rules get right, and the rest by name. `npm run bench -- conformance [PATTERN]`.

import { standardOps } from '../src/ops/index.js';
import { conformanceCases } from '../test/conformance.js';
import { agreementOf } from '../test/ops/agreement.js';

export async function run(args: string[]): Promise<void> {
  const pattern = new RegExp(args[0] ?? '');
  const all = conformanceCases()
    .filter((c) => pattern.test(c.name))
    .map((c) => agreementOf(c, standardOps));
  const count = (test: (a: (typeof all)[number]) => boolean): number => all.filter(test).length;
  console.log(`${all.length} cases`);
  console.log(`right with the inputs' values:  ${count((a) => a.withValues === 'right')}`);
  console.log(`right from shapes alone:        ${count((a) => a.fromShapes === 'right')}`);
  console.log(`with an unsupported operator:   ${count((a) => a.withValues === 'unsupported')}`);
  for (const a of all)
    if (a.withValues !== 'right') console.log(`${a.name} (${a.operators.join(' ')}): ${a.withValues}`);
  await Promise.resolve();
}
