// Every operator of a network against central differences in the runtime, one node at a time: inputs as they occur in the network,
// single elements moved by 3 % of their size. For people who add operators; float32, so a right rule shows 1e-3 or less.
import { attrInt, describeNode, type Graph, type Model, type Node } from '../ir/graph.js';
import { DataType, elementCount, floatTensor, hasData, type Tensor } from '../ir/tensor.js';
import { hasSubgraphs, removeDead } from '../ir/walk.js';
import type { OpTable } from '../ops/op.js';
import { PareError } from '../errors.js';
import type { Rng } from '../rng.js';
import {
  constantTensor,
  floatsOf,
  runtimeTensor,
  withSession,
  type Runtime,
  type RuntimeTensor,
  type Session,
} from '../runtime/runtime.js';
import { modelInputs } from '../runtime/source.js';
import { appendGradients, createEmitter } from '../training/gradient.js';
import { modernized } from '../training/modernize.js';
import { randomFeeds, type FeedOptions } from './feeds.js';

export interface GradientCheck {
  readonly node: Node;
  /** How many nodes of the network are like this one: same attributes, dims and constants. */
  readonly count: number;
  /** 'ok', 'wrong', 'no rule', or why it could not be checked. */
  readonly verdict: string;
  /** Largest difference of an element, relative to itself and the root mean square of its gradient; undefined = not run. */
  readonly error: number | undefined;
  /** Elements compared. */
  readonly compared: number;
}

export interface GradientCheckOptions extends FeedOptions {
  readonly runtime: Runtime;
  readonly table: OpTable;
  readonly rng: Rng;
  /** Relative; 1e-2 by default. */
  readonly tolerance?: number;
  /** Elements of each input; 8 by default. */
  readonly elements?: number;
}

/** One report per kind of node, in the network's order. Placeholders without data are filled at random. */
export async function* checkGradients(model: Model, options: GradientCheckOptions): AsyncGenerator<GradientCheck> {
  const { table, rng } = options;
  const modern: Model = { ...model, ...modernized({ ...model, graph: withData(model.graph, rng) }) };
  const nodes = modern.graph.nodes.filter((n) => !hasSubgraphs(n) && n.inputs.some((i) => i !== ''));
  const values = await valuesOf(modern, nodes, options);
  const kinds = new Map<string, { node: Node; count: number }>();
  for (const node of nodes) {
    if (!node.outputs.some((o) => isFloat(values.get(o))) || !node.inputs.some((i) => isFloat(values.get(i)))) continue;
    const key = kindOf(node, values);
    const known = kinds.get(key);
    if (known === undefined) kinds.set(key, { node, count: 1 });
    else known.count++;
  }
  for (const { node, count } of kinds.values()) {
    const opset = modern.opsets.get(node.domain) ?? 1;
    const def = table.lookup(node.domain, node.opType, opset);
    if (def?.gradient === undefined && def?.expand === undefined) {
      yield { node, count, verdict: 'no rule', error: undefined, compared: 0 };
      continue;
    }
    try {
      const { error, compared } = await checkNode(node, modern, values, options, rng.fork(node.outputs[0] ?? 'node'));
      const right = error <= (options.tolerance ?? 1e-2);
      const verdict = right ? (compared > 0 ? 'ok' : 'no element with a derivative to compare') : 'wrong';
      yield { node, count, verdict, error, compared };
    } catch (error) {
      if (!(error instanceof PareError)) throw error;
      yield { node, count, verdict: error.message, error: undefined, compared: 0 };
    }
  }
}

function isFloat(t: RuntimeTensor | undefined): t is RuntimeTensor & { readonly data: Float32Array } {
  return t?.dataType === DataType.FLOAT;
}

function withData(graph: Graph, rng: Rng): Graph {
  const initializers = new Map(
    [...graph.initializers].map(([name, t]): [string, Tensor] => {
      if (hasData(t) || t.dataType !== DataType.FLOAT) return [name, t];
      const r = rng.fork(`fill/${name}`);
      return [
        name,
        floatTensor(
          name,
          t.dims,
          Float32Array.from({ length: elementCount(t.dims) }, () => 0.1 * r.normal()),
        ),
      ];
    }),
  );
  return { ...graph, initializers };
}

/** What flows into and out of the nodes when the network runs once on made-up inputs. */
async function valuesOf(
  model: Model,
  nodes: readonly Node[],
  options: GradientCheckOptions,
): Promise<ReadonlyMap<string, RuntimeTensor>> {
  const { graph } = model;
  const names = new Set(nodes.flatMap((n) => [...n.inputs, ...n.outputs]).filter((n) => n !== ''));
  const fixed = new Map<string, RuntimeTensor>();
  for (const name of names) {
    const tensor = graph.initializers.get(name);
    if (tensor !== undefined) fixed.set(name, runtimeTensor(tensor));
  }
  const feeds = randomFeeds(modelInputs(model), options.rng, options);
  const made = new Set(graph.nodes.flatMap((n) => n.outputs));
  const outputs = [...names].filter((n) => made.has(n)).map((name) => ({ name }));
  const open = removeDead({ ...graph, outputs, valueInfo: new Map() });
  const used = new Set(open.nodes.flatMap((n) => n.inputs));
  const inputs = open.inputs.filter((v) => used.has(v.name) || graph.initializers.has(v.name));
  const asked = new Map([...feeds].filter(([name]) => used.has(name)));
  const results = await withSession(
    options.runtime,
    { ...model, graph: { ...open, inputs } },
    // as written: fused nodes would not give the values between them
    { optimization: 'disabled' },
    (session) => session.run(asked),
  );
  return new Map([...fixed, ...feeds, ...results]);
}

function kindOf(node: Node, values: ReadonlyMap<string, RuntimeTensor>): string {
  const inputs = node.inputs.map((name) => {
    const v = values.get(name);
    if (v === undefined) return '';
    const whole =
      isFloat(v) || v.data.length > 64 ? '' : `=${Array.from(v.data as ArrayLike<unknown>, String).join(',')}`;
    return `${v.dataType}[${v.dims.join(',')}]${whole}`;
  });
  const attributes = [...node.attributes.values()].map(
    (a) => `${a.name}=${JSON.stringify('value' in a ? a.value : '')}`,
  );
  return [node.opType, ...attributes.sort(), ...inputs].join(' ');
}

async function checkNode(
  node: Node,
  model: Model,
  values: ReadonlyMap<string, RuntimeTensor>,
  options: GradientCheckOptions,
  rng: Rng,
): Promise<{ error: number; compared: number }> {
  const floats = [...new Set(node.inputs)].filter((name) => isFloat(values.get(name)));
  const constants = floats.filter((name) => model.graph.initializers.has(name));
  try {
    return await checkInputs(node, model, values, floats, options, rng);
  } catch (error) {
    // scales and the like, from which shapes follow, must stay constants
    const moving = floats.filter((name) => !constants.includes(name));
    if (!(error instanceof PareError) || moving.length === 0 || constants.length === 0) throw error;
    return checkInputs(node, model, values, moving, options, rng);
  }
}

async function checkInputs(
  node: Node,
  model: Model,
  values: ReadonlyMap<string, RuntimeTensor>,
  moving: readonly string[],
  options: GradientCheckOptions,
  rng: Rng,
): Promise<{ error: number; compared: number }> {
  const { runtime, table } = options;
  const fixed = [...new Set(node.inputs)].filter((name) => name !== '' && !moving.includes(name));
  const through = node.outputs.filter((o, i) => isFloat(values.get(o)) && !isStatistic(node, i));
  const infoOf = (name: string) => {
    const v = values.get(name);
    return { name, type: { kind: 'tensor' as const, elemType: v?.dataType ?? DataType.FLOAT, shape: v?.dims ?? [] } };
  };
  const base: Graph = {
    name: 'one',
    nodes: [node],
    initializers: new Map(fixed.map((name) => [name, constantTensor(name, values.get(name)!)])),
    sparseInitializers: new Map(),
    inputs: moving.map(infoOf),
    outputs: [],
    valueInfo: new Map(),
  };
  const e = createEmitter(base, 'loss', model.opsets.get('') ?? 17);
  const probes = new Map(
    through.map((o) => [o, Float32Array.from(values.get(o)!.data as Float32Array, () => rng.normal())]),
  );
  const sums = [...probes].map(([o, probe]) => {
    const product = e.emit('Mul', [o, e.float([...probe], values.get(o)!.dims)]);
    return e.emit('ReduceSum', [product], { keepdims: 0 });
  });
  const loss = e.emit('Sum', sums);
  const parts = { graph: e.extended(base), opsets: model.opsets, functions: model.functions };
  const made = appendGradients(parts, table, loss, moving, {});
  const outputs = [...new Set(made.of.values())].map((name) => ({ name }));
  const feeds = new Map(moving.map((name) => [name, ofOrdinarySize(values.get(name)!)]));
  const gradients =
    outputs.length === 0
      ? new Map<string, RuntimeTensor>()
      : await withSession(
          runtime,
          { ...model, opsets: made.opsets, graph: removeDead({ ...made.graph, outputs }) },
          {},
          (session) => session.run(usedFeeds(feeds, removeDead({ ...made.graph, outputs }))),
        );
  const forward: Model = { ...model, graph: { ...base, outputs: through.map((name) => ({ name })) } };
  return withSession(runtime, forward, {}, async (session) => {
    let error = 0;
    let compared = 0;
    for (const name of moving) {
      const output = made.of.get(name);
      const x = floatsOf(feeds.get(name)!);
      const gradient = output === undefined ? new Float32Array(x.length) : floatsOf(gradients.get(output)!);
      const found = await compareElements(session, feeds, name, gradient, probes, options.elements ?? 8, rng);
      error = Math.max(error, found.error);
      compared += found.compared;
    }
    return { error, compared };
  });
}

/** removeDead keeps every input; the runtime wants no feed for one that is not there. */
function usedFeeds(feeds: ReadonlyMap<string, RuntimeTensor>, graph: Graph): ReadonlyMap<string, RuntimeTensor> {
  return new Map([...feeds].filter(([name]) => graph.inputs.some((v) => v.name === name)));
}

/** Values in the thousands and beyond (made-up weights) saturate what comes after them: scaled to a root mean square of 1. */
function ofOrdinarySize(t: RuntimeTensor): RuntimeTensor {
  const data = floatsOf(t);
  const size = Math.sqrt(meanSquare(data));
  return size > 1e3 ? { ...t, data: data.map((v) => v / size) } : t;
}

/** Outputs that gradients do not pass through: running averages, statistics for other passes. */
function isStatistic(node: Node, i: number): boolean {
  return i > 0 && (node.opType === 'LayerNormalization' || attrInt(node, 'training_mode', 0) === 1);
}

async function compareElements(
  session: Session,
  feeds: ReadonlyMap<string, RuntimeTensor>,
  name: string,
  gradient: Float32Array,
  probes: ReadonlyMap<string, Float32Array>,
  wanted: number,
  rng: Rng,
): Promise<{ error: number; compared: number }> {
  const x = feeds.get(name)!;
  const own = floatsOf(x);
  const size = Math.sqrt(meanSquare(own));
  const scale = Math.sqrt(meanSquare(gradient));
  const run = async (k: number, value: number): Promise<ReadonlyMap<string, RuntimeTensor>> => {
    const data = own.slice();
    data[k] = value;
    return session.run(new Map([...feeds, [name, { ...x, data }]]));
  };
  const here = await session.run(feeds);
  /** Differences are taken element by element before they are summed: a sum of float32 would hide them. */
  const difference = (above: ReadonlyMap<string, RuntimeTensor>, below: ReadonlyMap<string, RuntimeTensor>): number => {
    let sum = 0;
    for (const [output, probe] of probes) {
      const [a, b] = [floatsOf(above.get(output)!), floatsOf(below.get(output)!)];
      for (let i = 0; i < probe.length; i++) if (a[i] !== b[i]) sum += probe[i]! * (a[i]! - b[i]!);
    }
    return sum;
  };
  /** What rounding in float32 (of outputs, and of the sums behind them) can make of a difference. */
  const rounding = (above: ReadonlyMap<string, RuntimeTensor>, below: ReadonlyMap<string, RuntimeTensor>): number => {
    let changed = 0;
    let largest = 0;
    for (const [output, probe] of probes) {
      const [a, b] = [floatsOf(above.get(output)!), floatsOf(below.get(output)!)];
      for (let i = 0; i < probe.length; i++) {
        const square = (probe[i]! * a[i]!) ** 2;
        if (a[i] !== b[i]) changed += square;
        else largest = Math.max(largest, square);
      }
    }
    // nothing changed: perhaps because rounding hid it
    return 2 ** -20 * Math.sqrt(changed === 0 ? largest : changed);
  };
  const slopes = async (k: number, step: number): Promise<{ central: number; apart: number; noise: number }> => {
    const [high, low] = [Math.fround(own[k]! + step), Math.fround(own[k]! - step)];
    const [above, below] = [await run(k, high), await run(k, low)];
    const up = difference(above, here) / (high - own[k]!);
    const down = difference(here, below) / (own[k]! - low);
    const noise = rounding(above, below) / (high - low);
    return { central: difference(above, below) / (high - low), apart: Math.abs(up - down), noise };
  };
  let error = 0;
  let compared = 0;
  const order = rng.sample(own.length, Math.min(own.length, 3 * wanted));
  for (const k of order) {
    if (compared === wanted) break;
    const step = 3e-2 * Math.max(Math.abs(own[k]!), 0.3 * size, 1e-3);
    const [wide, narrow] = [await slopes(k, step), await slopes(k, step / 2)];
    const expected = gradient[k]!;
    const unit = Math.abs(expected) + scale + 1e-6;
    // a corner (a tie in a maximum, a bound) in between or right here, or a value outside the domain: no derivative to compare
    const around = Math.abs(narrow.central) + scale + 1e-6;
    const smooth = Math.abs(wide.central - narrow.central) <= 0.005 * around && narrow.apart <= 0.1 * around;
    // nor where float32 drowns it
    if (!smooth || narrow.noise > 0.05 * around) continue;
    // the error of a central difference falls with the square of its step
    const off = Math.abs((4 * narrow.central - wide.central) / 3 - expected) - 2 * narrow.noise;
    error = Math.max(error, off / unit);
    compared++;
  }
  return { error, compared };
}

function meanSquare(values: Float32Array): number {
  let sum = 0;
  for (const v of values) sum += v * v;
  return values.length === 0 ? 0 : sum / values.length;
}

/** `Conv "stem" [1, 3, 32, 32]`. */
export function describeCheck({ node, count }: GradientCheck): string {
  return `${describeNode(node)}${count > 1 ? ` and ${count - 1} like it` : ''}`;
}
