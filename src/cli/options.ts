// What several commands share: reading option values, the shared options themselves, the network of a path.
import { existsSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import type { Options } from 'yargs';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { readOutline } from '../onnx/outline.js';
import { readModel } from '../onnx/read.js';
import type { Runtime } from '../runtime/runtime.js';
import { modelInputs } from '../runtime/source.js';
import { tfjsRuntime } from '../runtime/tfjs.js';
import { threadRuntime } from '../runtime/threads.js';

export const jsonOption = { type: 'boolean', default: false, describe: 'print JSON' } as const satisfies Options;

export const inputOption = {
  type: 'string',
  array: true,
  nargs: 1,
  default: [] as string[],
  describe: 'dims of an input, as name:1x3x224x224; again for further inputs',
} as const satisfies Options;

export const outputOption = {
  alias: 'o',
  type: 'string',
  demandOption: true,
  coerce: outputFile,
  describe: 'file to write',
} as const satisfies Options;

export const runtimeOption = {
  choices: ['onnxruntime', 'tfjs'],
  default: 'onnxruntime',
  describe: 'what runs the networks; tfjs covers fewer operators and is slower: a second opinion',
} as const satisfies Options;

/** With so many threads where the runtime has them. */
export async function openRuntime(name: (typeof runtimeOption.choices)[number], threads: number): Promise<Runtime> {
  return name === 'tfjs' ? tfjsRuntime() : threadRuntime(threads);
}

/** A model file, or a sentence that says what is wrong with the path. `outline` leaves large weights on the disk. */
export function openModel(
  path: string,
  options: { readonly allowMissingData?: boolean; readonly outline?: boolean } = {},
): Model {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) throw new PareError(`"${path}": there is no such file`);
  if (stats.isDirectory()) throw new PareError(`"${path}" is a folder; give the .onnx file`);
  return options.outline === true ? readOutline(path, options) : readModel(path, options);
}

/** Where a command is to write a file, looked at before it works for hours. */
export function outputFile(path: string): string {
  const folder = dirname(resolve(path));
  if (!existsSync(folder))
    throw new PareError(`--output ${path}: there is no folder ${folder}; make it, or choose another place`);
  if (!statSync(folder).isDirectory())
    throw new PareError(`--output ${path}: ${folder} is a file, not a folder; choose another place`);
  if (existsSync(path) && statSync(path).isDirectory()) {
    throw new PareError(`--output ${path}: is a folder; give the name of a file`);
  }
  return path;
}

/** `--input name:1x3x32x32`, checked against the network's inputs. Names may hold colons. */
export function parseInputDims(texts: readonly string[], model: Model): ReadonlyMap<string, readonly number[]> {
  const inputs = modelInputs(model);
  const dims = new Map<string, readonly number[]>();
  for (const text of texts) {
    const at = text.lastIndexOf(':');
    const name = text.slice(0, Math.max(0, at));
    const sizes = text.slice(at + 1);
    if (at < 1 || !/^\d+([x,]\d+)*$/.test(sizes)) {
      throw new PareError(`--input ${text}: write the input's name and its dims, as --input name:1x3x224x224`);
    }
    const input = inputs.find((i) => i.name === name);
    if (input === undefined) {
      throw new PareError(`--input ${text}: the network's inputs are ${inputs.map((i) => `"${i.name}"`).join(', ')}`);
    }
    const list = sizes.split(/[x,]/).map(Number);
    const known = input.dims;
    if (
      known.length > 0 &&
      (known.length !== list.length || known.some((d, i) => typeof d === 'number' && d !== list[i]))
    ) {
      throw new PareError(`--input ${text}: the network declares "${name}" as [${known.join(', ')}]`);
    }
    dims.set(name, list);
  }
  return dims;
}

/** A whole number of at least `least`. */
export function wholeNumber(name: string, least: number) {
  return (value: number): number => {
    if (!Number.isSafeInteger(value) || value < least) {
      throw new PareError(`--${name} must be a whole number of at least ${least}`);
    }
    return value;
  };
}

/** How many candidates are worked on at once. */
export function workersOption() {
  return {
    type: 'number',
    coerce: wholeNumber('workers', 1),
    default: Math.min(8, availableParallelism()),
    defaultDescription: 'as many as there are cores, at most 8',
    describe: 'candidates refitted and measured at the same time; any number gives the same files',
  } as const;
}

/** `30m`, `90s` or `2h`, in ms. */
export function durationMs(option: string, text: string): number {
  const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)(s|m|h)$/.exec(text.trim()) ?? [];
  const ms = Number(digits) * (unit === 's' ? 1e3 : unit === 'm' ? 6e4 : 3.6e6);
  if (!(ms > 0)) throw new PareError(`--${option} ${text}: write a duration such as 90s, 30m or 2h`);
  return ms;
}
