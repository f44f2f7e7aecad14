// Every operator of the shared models and graphs that carries gradients: does it have a rule, and how far are its gradients from
// central differences (float64 reference) and from onnxruntime. `npm run bench -- gradient-rules [DRAWS [PATTERN]]`.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Graph } from '../src/ir/graph.js';
import { subgraphs } from '../src/ir/walk.js';
import { readModel } from '../src/onnx/read.js';
import { expandRules, gradientRules } from '../src/ops/gradients.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { unpackShared } from '../test/conformance.js';
import { sharedPath } from '../test/shared-path.js';
import { gradientCases } from '../test/training/gradient-cases.js';
import type { Draw } from '../test/training/gradient-makers.js';
import { gradientAgreement } from '../test/training/gradient-law.js';

/** What makes constants and integers, or chooses: nothing flows through. */
const without = new Set([
  'Constant',
  'ConstantOfShape',
  'Shape',
  'Size',
  'Range',
  'NonZero',
  'ArgMax',
  'ArgMin',
  'Equal',
]);

export async function run(args: string[]): Promise<void> {
  const draws = Number(args[0] ?? 20);
  const pattern = new RegExp(args[1] ?? '');
  const files = new Map<string, number>();
  for (const path of modelFiles()) {
    for (const opType of operatorsOf(readModel(path).graph)) files.set(opType, (files.get(opType) ?? 0) + 1);
  }
  const runtime = ortRuntime();
  const all = new Set([...files.keys(), ...gradientCases.map(([opType]) => opType)]);
  console.log(`operator                   files  rule    differences  onnxruntime  (${draws} draws each)`);
  let missing = 0;
  for (const opType of [...all].toSorted((a, b) => (files.get(b) ?? 0) - (files.get(a) ?? 0) || (a < b ? -1 : 1))) {
    if (without.has(opType) || !pattern.test(opType)) continue;
    const rule = gradientRules.has(opType) ? 'yes' : expandRules.has(opType) ? 'parts' : 'NO';
    if (rule === 'NO' && !modern.has(opType)) missing++;
    const { differences, runtime: beside } = await worst(opType, draws, runtime);
    const shown = (v: number | undefined): string => (v === undefined ? '-' : v.toExponential(1)).padStart(11);
    const label = rule === 'NO' && modern.has(opType) ? 'as new' : rule;
    console.log(
      `${opType.padEnd(26)} ${String(files.get(opType) ?? 0).padStart(5)}  ${label.padEnd(6)}  ${shown(differences)}  ${shown(beside)}`,
    );
  }
  console.log(`${missing} operators without a rule`);
  await runtime.close();
}

/** Old operators that become others before gradients are written (src/training/modernize.ts). */
const modern = new Set(['Upsample', 'Scatter']);

async function worst(
  opType: string,
  draws: number,
  runtime: ReturnType<typeof ortRuntime>,
): Promise<{ differences?: number; runtime?: number }> {
  const makers = gradientCases.filter(([name]) => name === opType);
  if (makers.length === 0) return {};
  const found = { differences: 0, runtime: 0 };
  for (const [k, [, make]] of makers.entries()) {
    for (let n = 0; n < draws; n++) {
      const rng = createRng(`gradient-rules/${opType}/${k}/${n}`);
      const made = make(drawFrom(rng));
      try {
        const agreement = await gradientAgreement(made, rng, runtime);
        found.differences = Math.max(found.differences, agreement.differences);
        found.runtime = Math.max(found.runtime, agreement.runtime);
        if (agreement.differences > 1e-4 || agreement.runtime > 1e-3) console.log(JSON.stringify([agreement, made]));
      } catch (error) {
        console.log(`${opType}: ${error instanceof Error ? error.message : String(error)}\n  ${JSON.stringify(made)}`);
        found.differences = Infinity;
      }
    }
  }
  return found;
}

function drawFrom(rng: Rng): Draw {
  return { int: (low, high) => low + rng.int(high - low + 1), pick: (from) => rng.pick(from) };
}

function modelFiles(): string[] {
  const graphs = unpackShared('graphs', 'graphs.tar.xz');
  return [sharedPath('models'), sharedPath('models', 'light'), graphs].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith('.onnx'))
      .map((name) => join(folder, name)),
  );
}

function operatorsOf(graph: Graph, into = new Set<string>()): Set<string> {
  for (const node of graph.nodes) {
    into.add(node.opType);
    for (const inner of subgraphs(node)) operatorsOf(inner, into);
  }
  return into;
}
