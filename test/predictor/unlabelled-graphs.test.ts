import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { randomMutants } from '../../search/random-mutants.js';
import { analyse } from '../../src/analysis/analyse.js';
import { drain } from '../../src/drain.js';
import { checkModel } from '../../src/ir/check.js';
import type { Model } from '../../src/ir/graph.js';
import { readFloats } from '../../src/ir/tensor.js';
import { encodeModel, writeModel } from '../../src/onnx/write.js';
import { standardOps } from '../../src/ops/index.js';
import { pretrain, type PretrainOptions } from '../../src/predictor/pretrain.js';
import type { PredictorFile } from '../../src/predictor/predictor-file.js';
import { SOURCES } from '../../src/predictor/sources.js';
import { nb201 } from '../../src/predictor/spaces/nb201.js';
import { graphsOfFolder, graphsOfTable } from '../../src/predictor/unlabelled-graphs.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-unlabelled-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const table = join(folder, 'cells.csv');
const cells = [
  '(2, 2, 0, 4, 2, 0)',
  '(3, 3, 3, 3, 3, 3)',
  '(3, 3, 3, 3, 3, 3)',
  '(2, 0, 2, 1, 3, 2)',
  '(1, 1, 2, 0, 0, 3)',
];
writeFileSync(table, ['op_indices', ...cells.map((c) => `"${c}"`)].join('\n'));

const network = (cell: string): Model => nb201.parse(new Map([['op_indices', cell]])).build();
const mutants = (base: Model, seed: string, count = 8): Model[] => [
  ...randomMutants(base, { table: standardOps, count, rng: createRng(seed) }),
];

describe('random mutants', () => {
  const base = network(cells[3]!);
  const macsOf = (model: Model): number => analyse(model, standardOps, { binding: { dynamic: 1 } }).cost.macs;

  it('are valid networks that differ from the base and never cost more', () => {
    const made = mutants(base, 'a');
    expect(made.length).toBeGreaterThan(4);
    for (const model of made) {
      checkModel(model, { placeholders: true });
      expect(macsOf(model)).toBeLessThanOrEqual(macsOf(base));
      expect(Buffer.compare(encodeModel(model), encodeModel(base))).not.toBe(0);
    }
    expect(new Set(made.map(macsOf)).size).toBeGreaterThan(3);
  });

  it('are the same for the same seed', () => {
    const bytes = (seed: string): string[] =>
      mutants(base, seed, 3).map((m) => Buffer.from(encodeModel(m)).toString('latin1'));
    expect(bytes('a')).toEqual(bytes('a'));
    expect(bytes('b')).not.toEqual(bytes('a'));
  });
});

describe('graphs without labels', () => {
  it('of a table count isomorphic twins once, and keep to the most that is asked for', () => {
    expect(graphsOfTable(table, 'nb201', 100, createRng(1))).toMatchObject({ name: 'cells', space: 'nb201' });
    expect(graphsOfTable(table, 'nb201', 100, createRng(1)).graphs).toHaveLength(4);
    expect(graphsOfTable(table, 'nb201', 2, createRng(1)).graphs).toHaveLength(2);
  });

  it('of a folder come with their mutants, and an empty or missing folder is named', () => {
    const files = join(folder, 'nets');
    mkdirSync(files);
    expect(() => graphsOfFolder(files, 9, createRng(1))).toThrow(`${files} holds no .onnx file`);
    expect(() => graphsOfFolder(join(folder, 'none'), 9, createRng(1))).toThrow('no such folder');
    for (const [i, cell] of cells.slice(0, 2).entries()) writeModel(network(cell), join(files, `${i}.onnx`));
    const found = graphsOfFolder(files, 9, createRng(1), (base) => mutants(base, 'm', 2));
    expect(found.map((s) => [s.name, s.graphs.length])).toEqual([
      ['nets', 2],
      ['mutants of nets', 4],
    ]);
  });

  it('change what the base learns, stand in the card, and stay away with their space', async () => {
    const columns = SOURCES[0]!.labels;
    const lines = cells.map((c, i) => [`"${c}"`, ...columns.map(() => 50 + i)].join(','));
    writeFileSync(join(folder, 'nb201.csv'), [['op_indices', ...columns].join(','), ...lines].join('\n'));
    // more than one batch, so that another step is taken
    const others = join(folder, 'others.csv');
    const random = createRng('others');
    const drawn = Array.from({ length: 60 }, () => `"(${Array.from({ length: 6 }, () => random.int(5)).join(', ')})"`);
    writeFileSync(others, ['op_indices', ...drawn].join('\n'));
    const more = [{ ...graphsOfTable(others, 'nb201', 40, createRng(1)), space: 'transnas101-micro' }];
    const made = (options: Partial<PretrainOptions>): Promise<PredictorFile> =>
      drain(
        pretrain({
          tables: folder,
          sources: SOURCES.slice(0, 2),
          excludeSpaces: [],
          excludeLabels: SOURCES[1]!.labels,
          rng: createRng('a'),
          runtime: ortRuntime(),
          perSpace: 9,
          epochs: { unlabelled: 1, base: 1, adapters: 1, trunk: 1 },
          unlabelled: 'fgp',
          ...options,
        }),
      );
    const weightsOf = ({ weights }: PredictorFile): string =>
      [...weights]
        .filter(([n]) => n.startsWith('base/'))
        .map(([n, t]) => `${n} ${readFloats(t).join()}`)
        .join();
    const [beside, excluded] = [await made({ more }), await made({ more, excludeSpaces: ['transnas101-micro'] })];
    expect(beside.card.unlabelled).toEqual({ others: 40 });
    expect(excluded.card.unlabelled).toBeUndefined();
    expect(weightsOf(beside)).not.toBe(weightsOf(excluded));
  }, 60_000);
});
