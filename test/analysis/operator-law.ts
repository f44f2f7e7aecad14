// One random network around one operator, cut at random: what came of it. For the test of channel rules and `npm run bench -- channel-law`.

import { analyse, type Analysis } from '../../src/analysis/analyse.js';
import { countCost } from '../../src/analysis/cost.js';
import { decideFate } from '../../src/analysis/fate.js';
import type { DeadUnits } from '../../src/analysis/groups.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { macsAfter } from '../../src/analysis/macs.js';
import { checkModel } from '../../src/ir/check.js';
import type { Model } from '../../src/ir/graph.js';
import { encodeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng, type Rng } from '../../src/rng.js';
import { compareLaw, randomDead, randomInputs, run } from './law.js';
import { contractCases } from './operator-cases-contract.js';
import { movementCases } from './operator-cases-movement.js';
import { quantizedCases } from './operator-cases-quantized.js';
import { pointwiseCases } from './operator-cases-pointwise.js';
import { buildField, type OperatorCase } from './operator-field.js';

export const operatorCases: readonly OperatorCase[] = [
  ...pointwiseCases,
  ...contractCases,
  ...quantizedCases,
  ...movementCases,
];

/** `cut`: channels that reach the operator died and the law holds. `frozen`: they stay, for these reasons. `spared`: none were drawn. */
export type Outcome =
  | { readonly kind: 'cut' | 'spared' | 'unlabelled' }
  | { readonly kind: 'frozen'; readonly reasons: readonly string[] }
  | { readonly kind: 'not run'; readonly reason: string }
  | { readonly kind: 'violation'; readonly reason: string; readonly model: Uint8Array };

/** Deterministic in (operator, n). */
export async function tryOperator(c: OperatorCase, n: number): Promise<Outcome> {
  const rng = createRng(`channel-law/${c.operator}/${n}`);
  const model = buildField(c, rng);
  const bad = (reason: string): Outcome => ({ kind: 'violation', reason, model: encodeModel(model) });
  // what the runtime has no kernel for, or refuses, shows nothing
  let batch = 2;
  try {
    await run(model, randomInputs(model, rng.fork('first'), batch));
  } catch {
    batch = 1;
    try {
      await run(model, randomInputs(model, rng.fork('first'), batch));
    } catch (error) {
      return { kind: 'not run', reason: sentence(error) };
    }
  }
  let analysis: Analysis;
  let dead: DeadUnits;
  try {
    analysis = analyse(model, standardOps);
    dead = randomDead(analysis, rng);
  } catch (error) {
    return bad(`analysis: ${sentence(error)}`);
  }
  const found = whatHappens(analysis, dead, c.operator);
  if (dead.size === 0) return found;
  try {
    const first = await differs(analysis, dead, rng.fork('inputs/0'), batch);
    if (first === undefined) return found;
    // a rounding operator may fall to the other side once; a broken law breaks on every input
    for (const k of [1, 2]) {
      if ((await differs(analysis, dead, rng.fork(`inputs/${k}`), batch)) === undefined) return found;
    }
    // onnxruntime 1.30 fuses MatMul and BatchNormalization across a Transpose where the sizes happen to match: its optimiser is not the law
    if ((await differs(analysis, dead, rng.fork('inputs/0'), batch, 'disabled')) === undefined) {
      return { kind: 'not run', reason: 'gives something else once onnxruntime optimises it' };
    }
    return bad(first);
  } catch (error) {
    return bad(sentence(error));
  }
}

async function differs(
  analysis: Analysis,
  dead: DeadUnits,
  rng: Rng,
  batch: number,
  optimization?: 'disabled',
): Promise<string | undefined> {
  let compared;
  try {
    compared = await compareLaw(analysis, dead, randomInputs(analysis.model, rng, batch), optimization);
  } catch (error) {
    // where the batch is folded into channels, masks only fit the batch that they were made for
    if (batch === 1) throw error;
    compared = await compareLaw(analysis, dead, randomInputs(analysis.model, rng, 1), optimization);
  }
  const { pruned, outputs } = compared;
  checkModel(pruned);
  for (const { output, dims, worst, scale } of outputs) {
    if (dims[0]?.join() !== dims[1].join()) return `${output}: ${dims[0]?.join('x')} instead of ${dims[1].join('x')}`;
    if (!Number.isFinite(scale)) continue;
    if (!(worst <= 2e-4 * scale + 1e-6)) return `${output}: off by ${worst}, of values up to ${scale}`;
  }
  const shapes = inferShapes(pruned, analysis.table, { dynamic: 1 });
  const macs = countCost(pruned, analysis.table, shapes).macs;
  const foretold = macsAfter(analysis, dead);
  return Math.abs(foretold - macs) < 1e-3 ? undefined : `${foretold} MACs foretold, ${macs} are left`;
}

/** Whether channels at the operator died. */
function whatHappens(analysis: Analysis, dead: DeadUnits, operator: string): Outcome {
  const { plan, groups, model } = analysis;
  const at = operatorNode(model, operator);
  const node = model.graph.nodes[at];
  if (node === undefined) return { kind: 'unlabelled' };
  const fate = decideFate(analysis, dead);
  const lines = [...node.inputs, ...node.outputs].flatMap((name) => plan.values.get(name)?.line ?? []);
  for (const cut of plan.cuts) if (cut.node === at) lines.push(cut.line);
  if (lines.some((line) => fate.keep(line) !== undefined)) return { kind: 'cut' };
  const named = node.name === '' ? (node.outputs[0] ?? '') : node.name;
  const reasons = groups.frozen.filter((z) => z.reason.includes(`"${named}"`)).map((z) => bare(z.reason));
  if (reasons.length > 0) return { kind: 'frozen', reasons: [...new Set(reasons)] };
  if (lines.length > 0) return { kind: 'spared' };
  const inexact = groups.groups.some((g) => g.inexact?.includes(`"${named}"`) === true);
  return inexact ? { kind: 'frozen', reasons: ['inexact'] } : { kind: 'unlabelled' };
}

function operatorNode(model: Model, operator: string): number {
  const [opType, domain = ''] = operator.split(':').toReversed();
  return model.graph.nodes.findLastIndex((n) => n.opType === opType && n.domain === domain);
}

/** A reason without the node's name. */
function bare(reason: string): string {
  return reason.replace(/ at \S+ "[^"]*".*$/u, '').replaceAll(/"[^"]*"/gu, '""');
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
