// Parameters of mutations that change single layers: one layer's, or `{"layers": [...]}` for many in one edit.
import { PareError } from '../../src/errors.js';
import type { Json } from '../genome.js';

export type JsonRecord = { readonly [key: string]: Json };

/** One edit for many layers, in the order of their weights' names: equal sets, equal parameters. */
export function joinLayers(params: readonly Json[]): Json {
  const layers = params.flatMap((p) => listOf(p));
  const key = (p: Json): string => JSON.stringify(p);
  return { layers: layers.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)) };
}

/** The layers of an edit, each read by `read`; throws PareError where one is not as it should be or a weight is named twice. */
export function layersOf<T extends { readonly weight: string }>(
  mutation: string,
  params: Json,
  read: (record: JsonRecord) => T | undefined,
  form: string,
): readonly T[] {
  const list = listOf(params).map((p) => {
    const record = recordOf(p);
    const made = record === undefined ? undefined : read(record);
    if (made === undefined) {
      throw new PareError(
        `${mutation}: parameters must be ${form}, or {"layers": [such, ...]}, not ${JSON.stringify(p)}`,
      );
    }
    return made;
  });
  const seen = new Set<string>();
  for (const { weight } of list) {
    if (seen.has(weight)) throw new PareError(`${mutation}: the weight "${weight}" is named twice in one edit`);
    seen.add(weight);
  }
  return list;
}

export function recordOf(params: Json | undefined): JsonRecord | undefined {
  if (typeof params !== 'object' || params === null || Array.isArray(params)) return undefined;
  // the cast: Array.isArray does not narrow readonly arrays away
  return params as JsonRecord;
}

export function isCount(value: Json | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1;
}

function listOf(params: Json): readonly Json[] {
  const layers = recordOf(params)?.['layers'];
  // the cast: as above
  return Array.isArray(layers) ? (layers as readonly Json[]) : [params];
}
