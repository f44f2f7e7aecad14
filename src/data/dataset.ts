// A data set as one network sees it: batches of its inputs, labels, metric. Deterministic, and read from files when asked.
import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { PareError } from '../errors.js';
import { floatsOf, type RuntimeTensor, type ValueMeta } from '../runtime/runtime.js';
import type { Augmentation } from './augment.js';
import { planInput, type InputPlan } from './adapt.js';
import { openCifar } from './cifar.js';
import { openIdx } from './idx.js';
import { openImages } from './images.js';
import { readManifest, type LocatedManifest, type Manifest, type MetricName, type Preprocessing } from './manifest.js';
import { arrayPlace, openNpz } from './npz.js';
import type { Column, DataSource } from './source.js';

export interface Batch {
  /** input name -> tensor with `indices.length` samples. */
  readonly inputs: ReadonlyMap<string, RuntimeTensor>;
  readonly labels?: Int32Array;
  /** What mse and mae compare with: samples one after the other. */
  readonly targets?: Float32Array;
}

export interface Dataset {
  /** What messages call it. */
  readonly name: string;
  readonly size: number;
  readonly format: Manifest['format'];
  /** One class a sample; absent when the data have none. */
  readonly labels?: Int32Array;
  readonly hasTargets: boolean;
  /** As the manifest says; otherwise top1 with labels, mse with targets, undefined without either. */
  readonly metric: MetricName | undefined;
  /** Name of the output that the metric reads, when the manifest says it. */
  readonly output?: string;
  readonly classes?: readonly string[];
  /** Samples of every run, when the network's input fixes them. */
  readonly fixedBatch?: number;
  readonly preprocessing: Preprocessing;
  /** How training may change images, when the manifest says it. */
  readonly augment?: Augmentation;
  batch(indices: readonly number[]): Batch;
  /** The same samples prepared in another way: what the data checks try. */
  with(changes: Preprocessing): Dataset;
  /** SHA-256 of the data files and of how they are prepared: equal data, equal text. */
  fingerprint(): Promise<string>;
}

/** Opens a manifest (.json) or a .npz file for a network with these inputs; mistakes become sentences. */
export function openDataset(path: string, inputs: readonly ValueMeta[]): Dataset {
  const located = readManifest(path);
  const source = open(located);
  const { limit } = located.manifest;
  const size = limit === undefined ? source.size : Math.min(limit, source.size);
  if (size === 0) throw new PareError(`data ${located.name} has no samples`);
  return adapt(located, { ...source, size }, inputs, located.manifest);
}

function open(located: LocatedManifest): DataSource {
  switch (located.manifest.format) {
    case 'cifar10-binary':
      return openCifar(located.files);
    case 'idx':
      return openIdx(located.files);
    case 'npz':
      return openNpz(located);
    case 'images':
      return openImages(located);
  }
}

function adapt(
  located: LocatedManifest,
  source: DataSource,
  inputs: readonly ValueMeta[],
  prep: Preprocessing,
): Dataset {
  const { manifest } = located;
  const where = `data ${located.name}`;
  const plans = new Map<string, InputPlan>();
  for (const input of inputs) {
    const own = manifest.inputs?.[input.name];
    const { array: _, ...special } = typeof own === 'object' ? own : { array: '' };
    plans.set(
      input.name,
      planInput(where, input, columnFor(where, input, inputs, source, manifest.input), { ...prep, ...special }),
    );
  }
  const fixed = fixedBatchOf(where, inputs, plans);
  const labels = source.labels?.subarray(0, source.size);
  const metric = metricOf(where, manifest.metric, source);
  const { layout, scale, mean, std, channels, resize, crop } = prep;
  const preprocessing = defined({ layout, scale, mean, std, channels, resize, crop });
  return {
    name: located.name,
    size: source.size,
    format: manifest.format,
    hasTargets: source.targets !== undefined,
    metric,
    preprocessing,
    ...(labels === undefined ? {} : { labels }),
    ...(source.classes === undefined ? {} : { classes: source.classes }),
    ...(manifest.output === undefined ? {} : { output: manifest.output }),
    ...(fixed === undefined ? {} : { fixedBatch: fixed }),
    ...(manifest.augment === undefined ? {} : { augment: manifest.augment }),
    batch(indices) {
      const bad = indices.find((i) => !Number.isInteger(i) || i < 0 || i >= source.size);
      if (bad !== undefined) throw new RangeError(`${where}: there is no sample ${bad} among ${source.size}`);
      const made = new Map([...plans].map(([name, plan]) => [name, plan.make(indices)]));
      const targets = source.targets?.read?.(indices);
      return {
        inputs: made,
        ...(labels === undefined ? {} : { labels: Int32Array.from(indices, (i) => labels[i]!) }),
        ...(targets === undefined
          ? {}
          : { targets: floatsOf({ dataType: source.targets!.dataType, dims: [], data: targets }) }),
      };
    },
    with: (changes) => adapt(located, source, inputs, { ...prep, ...changes }),
    fingerprint: () => fingerprint(located, preprocessing, source.size),
  };
}

function columnFor(
  where: string,
  input: ValueMeta,
  inputs: readonly ValueMeta[],
  { columns }: DataSource,
  named: string | undefined,
): Column {
  const exact = columns.get(input.name);
  if (exact !== undefined) return exact;
  const unnamed = columns.get('');
  const wanted = inputs.map((i) => `"${i.name}"`).join(', ');
  if (named !== undefined && !inputs.some((i) => i.name === named)) {
    throw new PareError(`${where}: "input" is "${named}", but the network's inputs are ${wanted}`);
  }
  if (unnamed !== undefined && (inputs.length === 1 || named === input.name)) return unnamed;
  const have = [...columns].map(([name, c]) => (name === '' ? c.name : `"${name}"`)).join(', ');
  throw new PareError(
    `${where}: the network's inputs are ${wanted}, but the data give ${have}; name an array for each in an npz manifest: "inputs": {"${input.name}": "array name"}`,
  );
}

function fixedBatchOf(
  where: string,
  inputs: readonly ValueMeta[],
  plans: ReadonlyMap<string, InputPlan>,
): number | undefined {
  const sizes = new Set<number>();
  for (const input of inputs) {
    if (plans.get(input.name)?.batched !== true) sizes.add(1);
    else if (typeof input.dims[0] === 'number') sizes.add(input.dims[0]);
  }
  if (sizes.size > 1) {
    const said = inputs.map((i) => `"${i.name}" [${i.dims.join(', ')}]`).join(', ');
    throw new PareError(`${where}: the network's inputs fix different numbers of samples: ${said}`);
  }
  return [...sizes][0];
}

function metricOf(where: string, declared: MetricName | undefined, source: DataSource): MetricName | undefined {
  if ((declared === 'top1' || declared === 'top5') && source.labels === undefined) {
    throw new PareError(
      `${where}: metric "${declared}" needs labels, one class index a sample, and the data have none`,
    );
  }
  if ((declared === 'mse' || declared === 'mae') && source.targets === undefined) {
    throw new PareError(
      `${where}: metric "${declared}" needs targets (the array "y" of an npz file), and the data have none`,
    );
  }
  return declared ?? (source.labels !== undefined ? 'top1' : source.targets !== undefined ? 'mse' : undefined);
}

function defined(prep: { readonly [K in keyof Preprocessing]: Preprocessing[K] | undefined }): Preprocessing {
  return Object.fromEntries(Object.entries(prep).filter(([, v]) => v !== undefined));
}

async function fingerprint(located: LocatedManifest, prep: Preprocessing, size: number): Promise<string> {
  const { files: _, ...said } = located.manifest;
  const hash = createHash('sha256').update(JSON.stringify([said, prep, size]));
  for (const file of [...located.files, ...namedFiles(located)]) {
    for (const path of filesBelow(file)) {
      hash.update(`\n${relative(file, path)} `);
      for await (const chunk of createReadStream(path)) {
        // the cast: a stream without encoding gives buffers
        hash.update(chunk as Uint8Array);
      }
    }
  }
  return hash.digest('hex');
}

/** Files that arrays are named in, `other.npz:x`. */
function namedFiles({ manifest, folder }: LocatedManifest): string[] {
  const refs = [...Object.values(manifest.inputs ?? {}), manifest.labels ?? ''];
  const paths = refs.map((ref) => arrayPlace(typeof ref === 'string' ? ref : ref.array, folder)?.path);
  return [...new Set(paths.filter((p) => p !== undefined))];
}

function filesBelow(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((inside) => join(path, inside))
    .filter((inside) => !statSync(inside).isDirectory())
    .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}
