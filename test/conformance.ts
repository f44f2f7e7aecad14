// ONNX's own operator cases from ../shared/onnx-node-tests.tar.xz: unpacked once into the system's temporary folder.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Model, ValueInfo } from '../src/ir/graph.js';
import { parseModel, parseOptional, parseSequence, parseTensor, type Value } from '../src/onnx/read.js';
import { sharedPath } from './shared-path.js';

export interface ConformanceCase {
  /** `node/test_add`. */
  readonly name: string;
  readonly modelBytes: () => Uint8Array;
  readonly model: () => Model;
  /** One entry a data set: the values of the model's inputs and the outputs expected, by the graph's names for them. */
  readonly sets: readonly {
    readonly inputs: () => ReadonlyMap<string, Value>;
    readonly outputs: () => ReadonlyMap<string, Value>;
  }[];
}

/** All 1,910 cases, in the order of their names. Nothing is read before it is asked for. */
export function conformanceCases(): ConformanceCase[] {
  const root = unpackShared('onnx-node-tests.tar.xz');
  return ['node', 'simple'].flatMap((kind) =>
    readdirSync(join(root, kind))
      .toSorted()
      .map((name) => conformanceCase(`${kind}/${name}`, join(root, kind, name))),
  );
}

/** Unpacks `../shared/ARCHIVE` (.tar.xz) into a folder that later runs find again; returns the folder. */
export function unpackShared(...archive: string[]): string {
  const from = sharedPath(...archive);
  const { size, mtimeMs } = statSync(from);
  const folder = join(tmpdir(), `pare-${basename(from, '.tar.xz')}-${size}-${Math.floor(mtimeMs)}`);
  if (existsSync(folder)) return folder;
  mkdirSync(tmpdir(), { recursive: true });
  // unpacked beside and renamed: two test processes may come here at once
  const fresh = mkdtempSync(`${folder}-`);
  execFileSync('tar', ['-xJf', from, '-C', fresh]);
  try {
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

function conformanceCase(name: string, folder: string): ConformanceCase {
  const modelBytes = (): Uint8Array => readFileSync(join(folder, 'model.onnx'));
  const model = (): Model => parseModel(modelBytes(), { name });
  // cases of "node" lie beside their model, those of "simple" in folders
  const folders = readdirSync(folder)
    .filter((entry) => entry.startsWith('test_data_set_'))
    .toSorted();
  const sets = (folders.length > 0 ? folders : ['.']).map((entry) => ({
    inputs: () => values(join(folder, entry), 'input', model().graph.inputs),
    outputs: () => values(join(folder, entry), 'output', model().graph.outputs),
  }));
  return { name, modelBytes, model, sets };
}

function values(folder: string, stem: string, infos: readonly ValueInfo[]): Map<string, Value> {
  const read = ({ type }: ValueInfo, path: string): Value => {
    const bytes = readFileSync(path);
    if (type?.kind === 'sequence') return parseSequence(bytes, path);
    if (type?.kind === 'optional') return parseOptional(bytes, path);
    return { kind: 'tensor', tensor: parseTensor(bytes, path) };
  };
  const found = infos
    .map((info, i) => ({ info, path: join(folder, `${stem}_${i}.pb`) }))
    .filter(({ path }) => existsSync(path));
  return new Map(found.map(({ info, path }) => [info.name, read(info, path)]));
}
