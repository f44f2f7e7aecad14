// Candidates that onnxruntime refuses: named, remembered, gone round.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Model } from '../../src/ir/graph.js';
import { standardOps } from '../../src/ops/index.js';
import { writeReport } from '../../src/report/report.js';
import { readRun } from '../../src/report/run.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { parseRecord } from '../../search/archive.js';
import type { Genome } from '../../search/genome.js';
import { proposeOne, type Mutation } from '../../search/mutations/mutation.js';
import type { OptimizeOptions, OptimizeResult } from '../../search/optimize.js';
import { createRefusals, shortGenome } from '../../search/refusals.js';
import { smallExample } from '../small-run.js';
import { runToEnd } from './open-search.js';

/** Puts a node before a Relu that is valid ONNX, of a domain that no runtime has. */
const unheardOf = (name: string): Mutation => ({
  name,
  summary: 'puts an operator of an unknown domain before a Relu',
  law: 'approximate',
  propose: ({ analysis }, rng) =>
    proposeOne(
      analysis.model.graph.nodes.flatMap((n) =>
        n.opType === 'Relu' ? [{ params: { value: n.outputs[0]! }, site: n.outputs[0]!, saving: 0 }] : [],
      ),
      rng,
    ),
  apply(params, { analysis: { model } }): Model {
    const { value } = params as { value: string }; // its own proposal
    const nodes = model.graph.nodes.flatMap((n) =>
      n.outputs[0] === value
        ? [
            {
              ...n,
              name: '',
              opType: 'Unheard',
              domain: 'of.nobody',
              outputs: [`${value}.${name}`],
              attributes: new Map(),
            },
            { ...n, inputs: [`${value}.${name}`] },
          ]
        : [n],
    );
    return {
      ...model,
      opsets: new Map([...model.opsets, ['of.nobody', 1]]),
      graph: { ...model.graph, nodes },
    };
  },
});

describe('refusals', () => {
  const genome = (mutation: string, value: number): Genome => [{ mutation, params: { value } }];
  const candidate = (g: Genome) => ({ genome: g, key: JSON.stringify(g) });

  test('say each candidate once, bar its structure, and bar a mutation that only ever fails', () => {
    const refusals = createRefusals();
    refusals.failed(candidate(genome('bad', 1)), 'onnxruntime cannot load it');
    refusals.failed(candidate(genome('bad', 1)), 'onnxruntime cannot load it');
    expect(refusals.warnings()).toEqual([
      `a candidate cannot be measured and is left out: ${shortGenome(genome('bad', 1))}: onnxruntime cannot load it`,
    ]);
    expect([genome('bad', 1), genome('bad', 2), []].map((g) => refusals.allows(g))).toEqual([false, true, true]);
    refusals.failed(candidate(genome('bad', 2)), 'no');
    refusals.failed(candidate(genome('bad', 3)), 'no');
    expect(refusals.warnings().at(-1)).toMatch(/"bad" failed 3 times and never worked/);
    expect(refusals.allows(genome('bad', 4))).toBe(false);
    // what worked once is only barred where it failed
    refusals.worked(genome('fair', 0));
    for (const i of [1, 2, 3]) refusals.failed(candidate(genome('fair', i)), 'no');
    expect([0, 1, 4].map((i) => refusals.allows(genome('fair', i)))).toEqual([true, false, true]);
  });

  test('name a genome by its edits and a hash', () => {
    const cut: Genome = [...genome('bad', 1), { mutation: 'prune-channels', params: { group: 'g', dead: [0, 2] } }];
    expect(shortGenome(cut)).toMatch(/^genome [0-9a-f]{12} \(bad \{"value":1\}; 2 units cut from 1 groups\)$/);
  });
});

describe('a run with a mutation whose networks onnxruntime refuses', () => {
  let folder = '';
  let runtime: Runtime;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pare-refusals-'));
    runtime = ortRuntime();
    smallExample(folder, { calib: 100 });
  });
  afterAll(async () => {
    await runtime.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const run = async (out: string, resume: boolean): Promise<{ result: OptimizeResult; warnings: string[] }> => {
    const options: OptimizeOptions = {
      model: join(folder, 'net.onnx'),
      data: join(folder, 'calib.json'),
      out: join(folder, out),
      wishes: { flops: '60%' },
      // many names, so that it is drawn often
      mutations: Array.from({ length: 60 }, (_, i) => unheardOf(`unheard-of-${i}`)),
      evaluations: 11,
      seed: '2',
      resume,
      runtime,
      table: standardOps,
      version: '0.0.0',
      effort: {
        final: { mode: 'quick', images: 0, positions: 0 },
        calibrators: 0,
        learnImages: 32,
        scoreImages: 40,
        members: 2,
      },
    };
    const warnings: string[] = [];
    const result = await runToEnd(options, ({ warning }) => {
      if (warning !== undefined) warnings.push(warning);
    });
    return { result, warnings };
  };

  test('goes on, writes down who failed and why, and does the same when it is resumed', async () => {
    const { result, warnings } = await run('a', false);
    const said = warnings.filter((w) => w.includes('cannot be measured'));
    expect(said.length).toBeGreaterThan(0);
    expect(said[0]).toMatch(/genome [0-9a-f]{12} \(.*unheard-of-\d+ .*onnxruntime cannot load it/);
    const path = join(folder, 'a', 'archive.jsonl');
    const text = readFileSync(path, 'utf8');
    const records = text
      .trimEnd()
      .split('\n')
      .map((line) => parseRecord(JSON.parse(line)));
    const failed = records.filter((r) => 'failed' in r);
    expect(failed).toHaveLength(said.length);
    expect(records).toHaveLength(11);
    expect(result.evaluations).toBe(11);
    expect(result.measured).toHaveLength(11 - failed.length);
    expect(result.front.candidates.length).toBeGreaterThan(0);
    expect(result.front.leaveOneOut).toHaveLength(11 - failed.length);
    await writeReport(join(folder, 'a'), { table: standardOps, original: join(folder, 'net.onnx') });
    expect(readRun(join(folder, 'a')).failed).toHaveLength(failed.length);
    expect(readFileSync(join(folder, 'a', 'report.md'), 'utf8')).toMatch(/could not be measured or handed over:/);

    // killed after the first failure: the same again
    const front = readFileSync(join(folder, 'a', 'front.json'), 'utf8');
    const first = records.findIndex((r) => 'failed' in r);
    writeFileSync(
      path,
      `${text
        .split('\n')
        .slice(0, first + 1)
        .join('\n')}\n`,
    );
    rmSync(join(folder, 'a', 'front.json'));
    await run('a', true);
    expect(readFileSync(path, 'utf8')).toBe(text);
    expect(readFileSync(join(folder, 'a', 'front.json'), 'utf8')).toBe(front);
  }, 120_000);
});
