// Graphs that nobody measured, for pretraining without labels: tables of encodings alone, and folders of ONNX files with or without weights.
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { readModel } from '../onnx/read.js';
import type { Rng } from '../rng.js';
import { compress } from './compress.js';
import { detailed, drawnNetworks } from './corpus.js';
import type { DetailedGraph } from './graph-features.js';
import { spaceOf } from './spaces/index.js';
import { readTable } from './tables.js';

/** What one source gave. */
export interface UnlabelledGraphs {
  /** As the predictor's card names it. */
  readonly name: string;
  /** The architecture space of a table. */
  readonly space?: string;
  readonly graphs: readonly DetailedGraph[];
}

/** At most so many random rows of a table, see {@link drawnNetworks}. */
export function graphsOfTable(path: string, space: string, most: number, rng: Rng): UnlabelledGraphs {
  const drawn = [...drawnNetworks(readTable(path), space, most, rng)];
  return {
    name: basename(path).replace(/\.csv(\.gz)?$/, ''),
    space: spaceOf(space).name,
    graphs: drawn.map((d) => d.graph),
  };
}

/** Makes networks near a given one: see search/random-mutants.ts. */
export type Mutator = (base: Model, rng: Rng) => Iterable<Model>;

/** At most so many random ONNX files of a folder, and what `mutants` makes of each. */
export function graphsOfFolder(folder: string, most: number, rng: Rng, mutants?: Mutator): UnlabelledGraphs[] {
  if (!existsSync(folder)) throw new PareError(`--graphs ${folder}: there is no such folder`);
  const files = readdirSync(folder)
    .filter((f) => f.endsWith('.onnx'))
    .sort();
  if (files.length === 0) throw new PareError(`${folder} holds no .onnx file to learn from`);
  const read: DetailedGraph[] = [];
  const made: DetailedGraph[] = [];
  const add = (to: DetailedGraph[], model: Model): void => {
    to.push(detailed(compress(model, { extras: true })));
  };
  for (const file of rng.fork('files').shuffle(files).slice(0, most)) {
    const model = readModel(join(folder, file), { allowMissingData: true });
    add(read, model);
    for (const mutant of mutants?.(model, rng.fork(file)) ?? []) add(made, mutant);
  }
  const name = basename(folder);
  return [{ name, graphs: read }, ...(mutants === undefined ? [] : [{ name: `mutants of ${name}`, graphs: made }])];
}
