// What the search fits before it measures: nothing of most candidates, and of those with an edit that is worth little before a refit, what
// that edit brought in.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { recovered, type Effort } from '../../search/evaluator.js';
import type { Genome } from '../../search/genome.js';
import type { Mutation } from '../../search/mutations/mutation.js';
import { createReplayer, type Replayer } from '../../search/replay.js';
import { openDataset } from '../../src/data/dataset.js';
import type { Model } from '../../src/ir/graph.js';
import { constantReader, findLayers } from '../../src/recovery/layers.js';
import { modelInputs } from '../../src/runtime/source.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { openSearch, shapesModel } from './open-search.js';

const { base, replayer } = openSearch(shapesModel);
const needy = replayer.options.mutations.find((m) => m.refit === true)!;
const runtime = ortRuntime();
const search: Effort = { mode: 'quick', images: 0, positions: 0 };

/** Weights of layers of the base, and others, that are not what replay alone gives. A normalisation behind a layer takes up its bias. */
async function changedBy(genome: Genome, effort: Effort, own: Replayer = replayer): Promise<[string[], string[]]> {
  const context = {
    replayer: own,
    runtime,
    dataset: openDataset(join(shapesModel, '..', 'calib.json'), modelInputs(base.model)),
    fit: Array.from({ length: 64 }, (_, i) => i),
    batch: 32,
    seed: '1',
    quantized: new Map(),
  };
  const weights = ({ graph }: Model): Map<string, string> => {
    const read = constantReader(graph);
    return new Map(findLayers(graph).map((l) => [l.weight, read(l.weight).join()]));
  };
  const before = weights(own.replay(genome));
  const after = weights(await recovered(context, genome, effort));
  const changed = [...after.keys()].filter((name) => before.get(name) !== after.get(name));
  const known = weights(base.model);
  return [changed.filter((name) => known.has(name)), changed.filter((name) => !known.has(name))];
}

function replaced(own: Replayer, seed: string): Genome {
  const params = needy.propose(own.context(own.base), createRng(seed))!;
  return [{ mutation: needy.name, params }];
}

test('of a candidate with a replaced segment the new layers alone are fitted, and the others stay as they are', async () => {
  const structure = replaced(replayer, 'one');
  const [group] = replayer.structure(structure).groups.groups;
  const genome: Genome = [...structure, { mutation: 'prune-channels', params: { group: group!.id, dead: [0] } }];
  const [old, fresh] = await changedBy(genome, search);
  expect(old).toEqual([]);
  expect(fresh.length).toBeGreaterThan(0);
  const [all] = await changedBy(genome, { mode: 'reconstruct', images: 64, positions: 16 });
  expect(all.length).toBeGreaterThan(0);
});

test('also where a later edit puts other layers in the place of new ones', async () => {
  const factorize = replayer.options.mutations.find((m) => m.name === 'factorize-conv')!;
  for (let i = 0; i < 50; i++) {
    const structure = replaced(replayer, `${i}`);
    const context = replayer.context(replayer.structure(structure));
    const params = factorize.propose(context, createRng(`${i}`));
    if (params === undefined || !JSON.stringify(params).includes('.segment.')) continue;
    const [old, fresh] = await changedBy([...structure, { mutation: factorize.name, params }], search);
    expect(old).toEqual([]);
    expect(fresh.length).toBeGreaterThan(0);
    return;
  }
  throw new Error('no factorisation of a segment was proposed');
});

test('also where weights are nodes, before IR 4', async () => {
  const { surgery } = replayer.options;
  const early = createReplayer(surgery.analyse({ ...base.model, irVersion: 3 }), replayer.options);
  const [old, fresh] = await changedBy(replaced(early, 'one'), search, early);
  expect(old).toEqual([]);
  expect(fresh.length).toBeGreaterThan(0);
});

test('all layers are fitted where a needy edit brought none', async () => {
  const same: Mutation = { ...needy, name: 'same', apply: (_, { analysis }) => analysis.model };
  const own = createReplayer(base, { ...replayer.options, mutations: [same] });
  const [old] = await changedBy([{ mutation: 'same', params: null }], search, own);
  const [all] = await changedBy(
    [{ mutation: 'same', params: null }],
    { mode: 'reconstruct', images: 192, positions: 32 },
    own,
  );
  expect(old).toEqual(all);
});
