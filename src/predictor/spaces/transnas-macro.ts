// TransNAS-Bench-101, macro: four to six modules of two residual blocks, each with its own change of width and size
// (64-CODE-basic, a digit a module). TransNASBench, net_infer/net_macro.py.
import { PareError } from '../../errors.js';
import { encodingIn, type Feature, type Layers } from './layers.js';
import type { ArchitectureSpace } from './space.js';
import { buildTransnas, TRANSNAS_TASKS, transnasTaskOf } from './transnas-heads.js';

export const transnasMacro: ArchitectureSpace = {
  name: 'transnas101-macro',
  keys: ['arch_str', 'op_indices'],
  tasks: TRANSNAS_TASKS,
  parse(row) {
    const { text } = encodingIn(row, 'transnas101-macro', transnasMacro.keys);
    const { base, modules } = parseCode(text);
    const backbone = { name: 'transnas101-macro', base, modules, block };
    const key = `${base}-${modules.join('')}-basic`;
    return { key, twins: key, build: (options = {}) => buildTransnas(backbone, options) };
  },
  taskOf: transnasTaskOf,
};

function parseCode(text: string): { readonly base: number; readonly modules: readonly number[] } {
  const match = /^(\d+)-([1-4]+)-basic$/.exec(text);
  const tuple = /^[\s\d,()[\]]+$/.test(text) ? (text.match(/\d+/g) ?? []).map(Number).filter((op) => op > 0) : [];
  const modules = match === null ? tuple : Array.from(match[2]!, Number);
  const base = match === null ? 64 : Number(match[1]);
  if (modules.length > 0 && modules.every((code) => code <= 4) && base >= 2 && base % 2 === 0) return { base, modules };
  throw new PareError(
    `transnas101-macro: "${text}" is no architecture: write 64-CODE-basic, digits 1 to 4, one a module`,
  );
}

function block(l: Layers, x: Feature, c: number, stride: number): Feature {
  const deep = l.convNorm(l.relu(l.convNorm(l.relu(x), c, 3, { stride })), c, 3);
  const short = stride === 1 && x.c === c ? x : l.convNorm(x, c, 1, { stride });
  return l.sum([short, deep]);
}
