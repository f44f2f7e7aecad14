// What a plug-in file may export, and the look at it that says what is there: names, which functions, or a sentence on what is wrong.
import type { OpCategory, OpDef, OpTable } from '../ops/op.js';
import type { Importance } from '../recovery/importance.js';
import type { Foreteller } from '../predictor/fitness-methods.js';
import type { Mutation } from '../../search/mutations/mutation.js';

/** An operator of a plug-in: any subset of the rules. Without a shape rule the shapes that the file declares are taken. */
export type PluginOperator = Omit<OpDef, 'shape' | 'category'> & Partial<Pick<OpDef, 'shape' | 'category'>>;

/** A fitness of a plug-in. A candidate's graph costs a replay: it is there where `needsGraph` is true. */
export type PluginFitness = Omit<Foreteller, 'takesFile'> & { readonly needsGraph?: boolean };

/** The named exports of a plug-in file (an ES module); each of them may be left out. */
export interface Plugin {
  readonly mutations?: readonly Mutation[];
  readonly operators?: readonly PluginOperator[];
  /** name -> one number a unit, higher = stays longer. */
  readonly criteria?: Readonly<Record<string, Importance>>;
  readonly fitness?: readonly PluginFitness[];
}

export const RULES = ['shape', 'value', 'macs', 'channels', 'expand', 'gradient'] as const;
export type RuleName = (typeof RULES)[number];

/** What a plug-in offers, as plain data. */
export interface PluginOutline {
  readonly mutations: readonly {
    readonly name: string;
    readonly summary: string;
    readonly law: Mutation['law'];
    readonly optional: readonly ('places' | 'join' | 'removal')[];
  }[];
  readonly operators: readonly {
    readonly opType: string;
    readonly domain: string;
    readonly since: number;
    readonly category: OpCategory;
    readonly rules: readonly RuleName[];
  }[];
  readonly criteria: readonly string[];
  readonly fitness: readonly { readonly name: string; readonly summary: string; readonly needsGraph: boolean }[];
}

const EXPORTS = ['mutations', 'operators', 'criteria', 'fitness'] as const;
const LAWS: readonly Mutation['law'][] = ['exact', 'masked', 'approximate'];
const CATEGORIES: readonly OpCategory[] = [
  'contraction',
  'norm',
  'activation',
  'elementwise',
  'pool',
  'reduce',
  'movement',
  'shape',
  'quantize',
  'control',
  'other',
];
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/** The outline of a module's exports, or one clause that says what is wrong. `builtIn`: the operators that are there already. */
export function outlineOf(exports: unknown, builtIn: OpTable): PluginOutline | string {
  if (!isRecord(exports)) return 'it exports nothing';
  const unknown = Object.keys(exports).filter((key) => !EXPORTS.some((e) => e === key));
  if (unknown.length > 0) return `it exports "${unknown[0]}"; a plug-in exports ${EXPORTS.join(', ')}`;
  if (EXPORTS.every((e) => exports[e] === undefined)) return `it exports none of ${EXPORTS.join(', ')}`;
  const mutations: PluginOutline['mutations'][number][] = [];
  for (const [i, m] of listOf(exports['mutations'])) {
    const read = outlineMutation(m, `mutations[${i}]`);
    if (typeof read === 'string') return read;
    mutations.push(read);
  }
  const operators: PluginOutline['operators'][number][] = [];
  for (const [i, o] of listOf(exports['operators'])) {
    const read = outlineOperator(o, `operators[${i}]`, builtIn);
    if (typeof read === 'string') return read;
    operators.push(read);
  }
  for (const key of ['mutations', 'operators', 'fitness'] as const) {
    if (exports[key] !== undefined && !Array.isArray(exports[key])) return `"${key}" must be an array`;
  }
  const criteria = exports['criteria'] ?? {};
  if (!isRecord(criteria)) return '"criteria" must be an object: name -> function';
  for (const [name, f] of Object.entries(criteria)) {
    if (!NAME.test(name)) return `criteria: "${name}" is no name: lower-case words joined by hyphens`;
    if (typeof f !== 'function') return `criteria: "${name}" must be a function`;
  }
  const fitness: PluginOutline['fitness'][number][] = [];
  for (const [i, f] of listOf(exports['fitness'])) {
    const read = outlineFitness(f, `fitness[${i}]`);
    if (typeof read === 'string') return read;
    fitness.push(read);
  }
  const names = mutations.map((m) => m.name);
  const twice = names.find((n, i) => names.indexOf(n) !== i);
  if (twice !== undefined) return `two mutations are called "${twice}"`;
  return { mutations, operators, criteria: Object.keys(criteria), fitness };
}

function outlineMutation(m: unknown, where: string): PluginOutline['mutations'][number] | string {
  if (!isRecord(m)) return `${where} must be an object`;
  const { name, summary, law } = m;
  if (typeof name !== 'string' || !NAME.test(name)) return `${where}.name must be lower-case words joined by hyphens`;
  if (typeof summary !== 'string' || summary === '') return `${where}.summary must be a sentence`;
  const known = LAWS.find((l) => l === law);
  if (known === undefined) return `${where}.law must be one of ${LAWS.map((l) => `"${l}"`).join(', ')}`;
  for (const f of ['propose', 'apply']) if (typeof m[f] !== 'function') return `${where}.${f} must be a function`;
  const optional = (['places', 'join', 'removal'] as const).filter((f) => m[f] !== undefined);
  for (const f of optional) if (typeof m[f] !== 'function') return `${where}.${f} must be a function`;
  return { name, summary, law: known, optional };
}

function outlineFitness(f: unknown, where: string): PluginOutline['fitness'][number] | string {
  if (!isRecord(f)) return `${where} must be an object`;
  const { name, summary, needsGraph = false } = f;
  if (typeof name !== 'string' || !NAME.test(name)) return `${where}.name must be lower-case words joined by hyphens`;
  if (typeof summary !== 'string' || summary === '') return `${where}.summary must be a sentence`;
  if (typeof needsGraph !== 'boolean') return `${where}.needsGraph must be true or false`;
  if (typeof f['create'] !== 'function') return `${where}.create must be a function`;
  return { name, summary, needsGraph };
}

function outlineOperator(o: unknown, where: string, builtIn: OpTable): PluginOutline['operators'][number] | string {
  if (!isRecord(o)) return `${where} must be an object`;
  const { opType, domain = '', since = 1, category = 'other' } = o;
  if (typeof opType !== 'string' || opType === '') return `${where}.opType must be the operator's name`;
  if (typeof domain !== 'string') return `${where}.domain must be a string`;
  if (typeof since !== 'number' || !Number.isSafeInteger(since) || since < 1) {
    return `${where}.since must be an opset version`;
  }
  const known = CATEGORIES.find((c) => c === category);
  if (known === undefined) return `${where}.category must be one of ${CATEGORIES.join(', ')}`;
  const plain = domain === 'ai.onnx' ? '' : domain;
  if (builtIn.all.some((d) => d.opType === opType && (d.domain ?? '') === plain)) {
    return `${where}: ${plain === '' ? 'ai.onnx' : plain}:${opType} is built in`;
  }
  const rules = RULES.filter((r) => o[r] !== undefined);
  if (rules.length === 0) return `${where} has none of the rules ${RULES.join(', ')}`;
  for (const r of rules) if (typeof o[r] !== 'function') return `${where}.${r} must be a function`;
  return { opType, domain: plain, since, category: known, rules };
}

function listOf(value: unknown): readonly (readonly [number, unknown])[] {
  // the cast: Array.isArray gives any
  return Array.isArray(value) ? [...(value as readonly unknown[]).entries()] : [];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
