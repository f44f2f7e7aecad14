// A cut network checked against its original without running either whole, for weights larger than the memory: its structure and
// weights must be what the recipe's cut makes of the original, byte for byte, and every node that the cut touches must give on what is
// left of its inputs what the masked original gives on all of them. By induction over the nodes that is the law of the whole network.
import { createHash } from 'node:crypto';
import { analyse, type Analysis } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import { decideFate, type Fate } from '../src/analysis/fate.js';
import { maskModel } from '../src/analysis/mask.js';
import { concreteShape } from '../src/analysis/shapes.js';
import { PareError } from '../src/errors.js';
import type { Attribute, Graph, Model, Node, ValueInfo } from '../src/ir/graph.js';
import { sliceTensor } from '../src/ir/slice.js';
import { byteLength, DataType, PIECE_BYTES, type Tensor } from '../src/ir/tensor.js';
import { allNames, indexGraph, subgraphs, usedNames, type GraphIndex } from '../src/ir/walk.js';
import { beforeRunning, recipeOf, type Check, type Verification, type VerifyOptions } from '../src/measure/verify.js';
import { createRng, type Rng } from '../src/rng.js';
import {
  constantTensor,
  floatsOf,
  runtimeTensor,
  tensorOfNumbers,
  withSession,
  type Runtime,
  type RuntimeTensor,
} from '../src/runtime/runtime.js';
import { partsOf, type Genome } from './genome.js';

/** Initializers of so many bytes are fed to the parts instead of standing in them: onnxruntime would copy and repack them. */
const FED_BYTES = 2 ** 20;

/** The dead units of a candidate that says it is its original with channels cut and nothing refitted; undefined otherwise. */
export function plainCut(candidate: Model): ReadonlyMap<string, readonly number[]> | undefined {
  const recipe = recipeOf(candidate);
  if (recipe?.inherited !== true) return undefined;
  let genome: unknown;
  try {
    genome = JSON.parse(recipe.genome);
  } catch {
    return undefined;
  }
  if (!Array.isArray(genome)) return undefined;
  // the cast: partsOf checks the parameters of the cuts, other edits are not looked into
  const { structure, dead } = partsOf(genome as Genome);
  return structure.length > 0 ? undefined : dead;
}

/** Bytes of the model's initializers. */
export function weightBytes({ graph }: Model): number {
  return [...graph.initializers.values()].reduce((sum, t) => sum + byteLength(t.dataType, t.dims), 0);
}

/** `dead` as `plainCut` gives it. Memory: a few times the largest weight. */
export async function verifyParts(
  original: Model,
  candidate: Model,
  dead: ReadonlyMap<string, readonly number[]>,
  options: VerifyOptions,
): Promise<Verification> {
  const { result, runnable } = beforeRunning(original, candidate, options);
  if (!runnable) return result;
  const { dims: inputs } = options;
  const binding = { dynamic: 1, ...(inputs === undefined ? {} : { inputs }) };
  const checks = [...result.checks];
  try {
    const base = analyse(original, options.table, { binding });
    const expected = pruneModel(base, dead);
    const structure = structureCheck(expected.graph, candidate.graph);
    checks.push(structure);
    const weights = weightsCheck(original.graph, expected.graph, candidate.graph);
    checks.push(weights);
    if (structure.ok && weights.ok) checks.push(await lawCheck(base, candidate, dead, options));
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    checks.push({ name: 'law', ok: false, detail: error.message });
  }
  return { ...result, ok: checks.every((c) => c.ok), checks };
}

function structureCheck(expected: Graph, candidate: Graph): Check {
  const failed = (detail: string): Check => ({ name: 'structure', ok: false, detail });
  const said = (n: Node): string =>
    JSON.stringify([n.opType, n.domain, n.inputs, n.outputs, [...n.attributes].map(([k, a]) => [k, attributeText(a)])]);
  if (expected.nodes.length !== candidate.nodes.length) {
    return failed(`${candidate.nodes.length} nodes, but the recipe's cut leaves ${expected.nodes.length}`);
  }
  const wrong = expected.nodes.findIndex((n, i) => said(n) !== said(candidate.nodes[i]!));
  if (wrong >= 0) {
    const { name, opType } = candidate.nodes[wrong]!;
    return failed(`node ${wrong}, ${opType} "${name}", is not what the recipe's cut makes of the original`);
  }
  const names = (g: Graph): string => [...g.initializers.keys()].sort().join('\n');
  if (names(expected) !== names(candidate)) return failed('its initializers are not those of the original');
  return {
    name: 'structure',
    ok: true,
    detail: `${candidate.nodes.length} nodes, ${candidate.initializers.size} initializers, as the recipe says`,
  };
}

function attributeText({ kind, value }: Attribute): string {
  return JSON.stringify([kind, value], (key: string, v: unknown) => {
    if (key === 'source') return undefined;
    if (typeof v === 'bigint') return `${v}n`;
    if (typeof v === 'function')
      return createHash('sha1')
        .update((v as () => Uint8Array)())
        .digest('hex'); // a tensor's bytes
    return v instanceof Map ? [...v] : v;
  });
}

function weightsCheck(original: Graph, expected: Graph, candidate: Graph): Check {
  let untouched = 0;
  let cut = 0;
  for (const [name, wanted] of expected.initializers) {
    const got = candidate.initializers.get(name);
    if (got === undefined) continue;
    const whole = original.initializers.get(name) === wanted;
    const same = wanted.dataType === got.dataType && wanted.dims.join() === got.dims.join() && sameData(wanted, got);
    if (!same) {
      const what = whole ? 'the tensor of the original' : "what the recipe's cut leaves of the original";
      return { name: 'weights', ok: false, detail: `"${name}" is not ${what}, byte for byte` };
    }
    if (whole) untouched++;
    else cut++;
  }
  const detail = `${untouched} untouched tensors and ${cut} cut ones are the original's, byte for byte`;
  return { name: 'weights', ok: true, detail };
}

function sameData(a: Tensor, b: Tensor): boolean {
  if (a.strings !== undefined || b.strings !== undefined) {
    const text = (t: Tensor): string => (t.strings ?? []).map((s) => Buffer.from(s).toString('hex')).join();
    return text(a) === text(b);
  }
  if (a.bytes === undefined || b.bytes === undefined) return a.bytes === b.bytes;
  const length = byteLength(a.dataType, a.dims);
  const [left, right] = [reader(a, length), reader(b, length)];
  for (let at = 0; at < length; at += PIECE_BYTES) {
    const n = Math.min(PIECE_BYTES, length - at);
    if (Buffer.compare(left(at, n), right(at, n)) !== 0) return false;
  }
  return true;
}

function reader({ name, bytes }: Tensor, length: number): (offset: number, length: number) => Uint8Array {
  if (bytes?.part !== undefined) return bytes.part;
  const all = bytes?.() ?? new Uint8Array(0);
  if (all.length !== length) throw new PareError(`tensor "${name}": ${all.length} bytes of data, not ${length}`);
  return (offset, n) => all.subarray(offset, offset + n);
}

// --- the law, node by node -------------------------------------------------------------------------------------------------

/** Larger relative differences than this are no rounding. */
const TOLERANCE: Readonly<Record<number, number>> = { [DataType.FLOAT16]: 2e-2, [DataType.BFLOAT16]: 1e-1 };

async function lawCheck(
  base: Analysis,
  candidate: Model,
  dead: ReadonlyMap<string, readonly number[]>,
  { runtime, seed }: VerifyOptions,
): Promise<Check> {
  const fate = decideFate(base, dead);
  const masked = maskModel(base, dead);
  const statics = valuesWithoutData(base.model.graph);
  /** Where parts begin: what the original computes in floating point. */
  const isBorder = (name: string): boolean =>
    !statics.has(name) &&
    (base.producers.has(name) || base.model.graph.inputs.some((v) => v.name === name)) &&
    FLOATS.has(typeOf(base, name) ?? DataType.UNDEFINED);
  const [before, after] = [partsOfModel(masked, isBorder), partsOfModel(candidate, isBorder)];
  const rng = createRng(seed ?? 'verify').fork('parts');
  let [ran, worst, where] = [0, 0, ''];
  for (const node of base.model.graph.nodes) {
    if (!isTouched(base, fate, node)) continue;
    const outputs = node.outputs.filter((o) => isBorder(o));
    if (outputs.length === 0) continue; // shapes and the like: part of those that use them
    const feeds = borderFeeds(base, before(outputs).borders, rng.fork(outputs[0]!));
    const wanted = await runPart(runtime, before(outputs), feeds);
    const cutFeeds = new Map([...feeds].map(([name, t]) => [name, cutValue(base, fate, name, t)]));
    const got = await runPart(runtime, after(outputs), cutFeeds);
    for (const name of outputs) {
      const left = cutValue(base, fate, name, wanted.get(name)!);
      const difference = relativeDifference(left, got.get(name)!);
      const limit = TOLERANCE[left.dataType] ?? 1e-3;
      if (!(difference <= limit)) {
        const detail = `${node.opType} "${node.name}": output "${name}" of the cut network differs from the masked original's by ${difference.toExponential(1)} (relative)`;
        return { name: 'law', ok: false, detail };
      }
      if (difference > worst) [worst, where] = [difference, ` (${node.opType} "${node.name}")`];
    }
    ran++;
  }
  const detail = `${ran} nodes at the cut give what the masked original gives, largest difference ${worst.toExponential(1)}${where}`;
  return { name: 'law', ok: true, detail };
}

/** What follows from constants and shapes alone: such values have no channels of their own, parts make them again. */
function valuesWithoutData(graph: Graph): ReadonlySet<string> {
  const found = new Set<string>([...graph.initializers.keys(), ...graph.sparseInitializers.keys()]);
  for (const node of graph.nodes) {
    const free =
      node.opType === 'Shape' || node.opType === 'Size' || [...usedNames(node)].every((name) => found.has(name));
    if (free) for (const o of node.outputs) if (o !== '') found.add(o);
  }
  return found;
}

const FLOATS: ReadonlySet<number> = new Set([DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16]);

function typeOf(base: Analysis, name: string): number | undefined {
  const type = base.shapes.types.get(name);
  return type?.kind === 'tensor' ? type.elemType : undefined;
}

/** Does a value or a weight of it shrink? */
function isTouched({ plan }: Analysis, fate: Fate, node: Node): boolean {
  const bodies = subgraphs(node);
  const inner = bodies.length === 0 ? [] : [...usedNames(node), ...bodies.flatMap((g) => [...allNames(g)])];
  return [...node.inputs, ...node.outputs, ...inner].some((name) => {
    const placed = plan.values.get(name);
    return placed !== undefined && fate.keep(placed.line) !== undefined;
  });
}

interface Part {
  readonly model: Model;
  readonly borders: readonly string[];
  /** Weights that are fed. */
  readonly fed: readonly Tensor[];
}

/** The nodes behind some values, up to the borders, as a model of its own. */
function partsOfModel(model: Model, isBorder: (name: string) => boolean): (outputs: readonly string[]) => Part {
  const index: GraphIndex = indexGraph(model.graph);
  const { graph } = model;
  return (outputs) => {
    const nodes = new Set<number>();
    const borders = new Set<string>();
    const initializers = new Map<string, Tensor>();
    const fed: Tensor[] = [];
    const open = [...outputs];
    const seen = new Set<string>(outputs);
    const want = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      const tensor = graph.initializers.get(name);
      if (tensor !== undefined) {
        if (FLOATS.has(tensor.dataType) && byteLength(tensor.dataType, tensor.dims) >= FED_BYTES) fed.push(tensor);
        else initializers.set(name, tensor);
      } else if (isBorder(name) || !index.producer.has(name)) borders.add(name);
      else open.push(name);
    };
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      const at = index.producer.get(name);
      if (at === undefined || nodes.has(at)) continue;
      nodes.add(at);
      for (const used of usedNames(graph.nodes[at]!)) want(used);
    }
    const sparse = new Map([...graph.sparseInitializers].filter(([name]) => seen.has(name)));
    const inputs = [...borders].filter((b) => !sparse.has(b));
    const own = [...nodes].sort((a, b) => a - b).map((i) => graph.nodes[i]!);
    const part: Graph = {
      name: 'part',
      nodes: own,
      initializers,
      sparseInitializers: sparse,
      inputs: [], // types are known when it is fed
      outputs: outputs.map((name): ValueInfo => ({ name })),
      valueInfo: new Map(),
    };
    return { model: { ...model, graph: part, metadata: new Map() }, borders: inputs, fed };
  };
}

async function runPart(
  runtime: Runtime,
  { model, borders, fed }: Part,
  feeds: ReadonlyMap<string, RuntimeTensor>,
): Promise<ReadonlyMap<string, RuntimeTensor>> {
  const all = new Map([
    ...borders.map((name) => [name, feeds.get(name)!] as const),
    ...fed.map((t) => [t.name, runtimeTensor(t)] as const),
  ]);
  const inputs = [...all].map(([name, t]): ValueInfo => ({
    name,
    type: { kind: 'tensor', elemType: t.dataType, shape: t.dims },
  }));
  // `source` stays behind: it holds the whole graph
  const { source: _source, ...rest } = model;
  const whole = { ...rest, graph: { ...model.graph, inputs } };
  return withSession(runtime, whole, { label: 'a part of the network', optimization: 'basic' }, (session) =>
    session.run(all),
  );
}

function borderFeeds(base: Analysis, borders: readonly string[], rng: Rng): ReadonlyMap<string, RuntimeTensor> {
  return new Map(
    borders.map((name) => {
      const dims = concreteShape(base.shapes, name);
      const type = typeOf(base, name);
      if (dims === undefined || type === undefined) {
        throw new PareError(
          `"${name}" has no known shape: give dims of the inputs (--input), or verify on a machine with more memory`,
        );
      }
      const n = dims.reduce((a, b) => a * b, 1);
      const stream = rng.fork(name);
      const values = Float64Array.from({ length: n }, () => (FLOATS.has(type) ? stream.normal() : stream.int(2)));
      return [name, tensorOfNumbers(type, dims, values)];
    }),
  );
}

/** What the cut leaves of a value. */
function cutValue({ plan }: Analysis, fate: Fate, name: string, t: RuntimeTensor): RuntimeTensor {
  const placed = plan.values.get(name);
  const keep = placed === undefined ? undefined : fate.keep(placed.line);
  if (placed === undefined || keep === undefined) return t;
  return runtimeTensor(
    sliceTensor(
      constantTensor(name, t),
      t.dims.map((_, axis) => (axis === placed.axis ? keep : undefined)),
    ),
  );
}

/** Infinite where shapes differ. */
function relativeDifference(wanted: RuntimeTensor, got: RuntimeTensor): number {
  if (wanted.dims.join() !== got.dims.join()) return Infinity;
  const [a, b] = [floatsOf(wanted), floatsOf(got)];
  let [error, signal] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    signal += a[i]! ** 2;
  }
  return error === 0 ? 0 : Math.sqrt(error / signal);
}
