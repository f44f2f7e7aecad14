// What the search fits before it measures: nothing of most candidates, and of those with an edit that is worth little before a refit, what
// that edit brought in.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { recovered, type Effort } from '../../search/evaluator.js';
import type { Genome } from '../../search/genome.js';
import { openDataset } from '../../src/data/dataset.js';
import { readFloats } from '../../src/ir/tensor.js';
import { modelInputs } from '../../src/runtime/source.js';
import { createRng } from '../../src/rng.js';
import { ortRuntime } from '../../src/runtime/ort.js';
import { openSearch, shapesModel } from './open-search.js';

test('of a candidate with a replaced segment the new layers alone are fitted, and the others stay as they are', async () => {
  const { base, replayer } = openSearch(shapesModel);
  const mutation = replayer.options.mutations.find((m) => m.refit === true)!;
  const params = mutation.propose(replayer.context(base), createRng('one'))!;
  const structure: Genome = [{ mutation: mutation.name, params }];
  const [group] = replayer.structure(structure).groups.groups;
  const genome: Genome = [...structure, { mutation: 'prune-channels', params: { group: group!.id, dead: [0] } }];
  const runtime = ortRuntime();
  const dataset = openDataset(join(shapesModel, '..', 'calib.json'), modelInputs(base.model));
  const context = {
    replayer,
    runtime,
    dataset,
    fit: Array.from({ length: 64 }, (_, i) => i),
    batch: 32,
    seed: '1',
    quantized: new Map(),
  };
  const start = replayer.replay(genome).graph.initializers;
  const changedBy = async (effort: Effort): Promise<string[]> => {
    const { initializers } = (await recovered(context, genome, effort)).graph;
    return [...initializers].flatMap(([name, tensor]) => {
      const before = start.get(name);
      return before === undefined || readFloats(before).join() !== readFloats(tensor).join() ? [name] : [];
    });
  };
  const all = await changedBy({ mode: 'reconstruct', images: 64, positions: 16 });
  const searched = await changedBy({ mode: 'quick', images: 0, positions: 0 });
  // a normalisation behind a new layer takes up its bias
  const own = new Set([...base.graph.initializers].flatMap(([name, { dims }]) => (dims.length > 1 ? [name] : [])));
  expect(searched.length).toBeGreaterThan(0);
  expect(searched.filter((name) => own.has(name))).toEqual([]);
  expect(all.filter((name) => own.has(name)).length).toBeGreaterThan(0);
});
