// Is the candidate a valid, runnable network with the original's interface, and what does it cost and change? For files that
// Pare exports, and for any two models.
import { countCost, type Cost } from '../analysis/cost.js';
import { concreteShape, inferShapes, type Shapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { checkModel } from '../ir/check.js';
import type { Model } from '../ir/graph.js';
import type { OpTable } from '../ops/op.js';
import { createRng } from '../rng.js';
import type { ModelSource, Runtime, RuntimeTensor, Session, ValueMeta } from '../runtime/runtime.js';
import { modelInputs, modelOutputs } from '../runtime/source.js';
import { randomFeeds } from './feeds.js';
import { deviation, isFloat, type Outputs } from './outputs.js';

export interface Check {
  readonly name:
    | 'graph'
    | 'interface'
    | 'runs'
    | 'finite'
    | 'shapes'
    | 'macs'
    | 'source'
    | 'structure'
    | 'weights'
    | 'law';
  readonly ok: boolean;
  readonly detail: string;
}

export interface Recipe {
  readonly version: string;
  /** The edits as JSON text. */
  readonly genome: string;
  readonly sourceSha256: string;
  readonly seed: string;
  /** The weights are the original's, cut and not refitted. */
  readonly inherited?: boolean;
}

export interface Verification {
  readonly ok: boolean;
  readonly checks: readonly Check[];
  /** The candidate's are absent when its shapes contradict each other. */
  readonly macs: { readonly original: number; readonly candidate?: number };
  readonly params: { readonly original: number; readonly candidate?: number };
  readonly uncounted: readonly string[];
  /** |candidate - original| / |original| on made-up inputs, output by output; absent when one of them does not run. */
  readonly relativeError?: ReadonlyMap<string, number>;
  /** What the candidate says of how it was made. */
  readonly recipe?: Recipe;
}

export interface VerifyOptions {
  readonly runtime: Runtime;
  readonly table: OpTable;
  /** What to hand to the runtime when it is not the model in memory: the file's path. */
  readonly sources?: { readonly original?: ModelSource; readonly candidate?: ModelSource };
  /** SHA-256 of the original's file, compared with the recipe's. */
  readonly originalSha256?: string;
  /** Dims of inputs that are left open. */
  readonly dims?: ReadonlyMap<string, readonly number[]>;
  readonly seed?: string;
}

export async function verifyModels(original: Model, candidate: Model, options: VerifyOptions): Promise<Verification> {
  const { result, runnable } = beforeRunning(original, candidate, options);
  if (!runnable) return result;
  const checks = [...result.checks];
  const relativeError = await runCheck(original, candidate, options, checks);
  return {
    ...result,
    ok: checks.every((c) => c.ok),
    checks,
    ...(relativeError === undefined ? {} : { relativeError }),
  };
}

/** All that needs no run. `runnable`: no contradiction that makes a run senseless. */
export function beforeRunning(
  original: Model,
  candidate: Model,
  options: VerifyOptions,
): { readonly result: Verification; readonly runnable: boolean } {
  const checks: Check[] = [graphCheck(candidate), interfaceCheck(original, candidate)];
  const count = (model: Model): Cost => {
    const shapes = inferShapes(model, options.table, { dynamic: 1, ...(options.dims ? { inputs: options.dims } : {}) });
    return countCost(model, options.table, shapes);
  };
  const before = count(original);
  let after: Cost;
  try {
    after = count(candidate);
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    // weights, attributes and inputs contradict each other: there is nothing to run
    const macs = { original: before.macs };
    const params = { original: before.params };
    const failed: Check = { name: 'graph', ok: false, detail: error.message };
    const others = checks.filter((c) => c.name !== 'graph');
    return { result: { ok: false, checks: [failed, ...others], macs, params, uncounted: [] }, runnable: false };
  }
  checks.push({
    name: 'macs',
    ok: after.macs <= before.macs,
    detail: `${after.macs} of ${before.macs} MACs${after.macs > before.macs ? ': more than the original' : ''}`,
  });
  const recipe = recipeOf(candidate);
  if (recipe !== undefined && options.originalSha256 !== undefined) {
    const ok = recipe.sourceSha256 === options.originalSha256;
    checks.push({ name: 'source', ok, detail: ok ? 'made from this original' : 'its recipe names another original' });
  }
  const result: Verification = {
    ok: checks.every((c) => c.ok),
    checks,
    macs: { original: before.macs, candidate: after.macs },
    params: { original: before.params, candidate: after.params },
    uncounted: after.uncounted,
    ...(recipe === undefined ? {} : { recipe }),
  };
  return { result, runnable: true };
}

export function recipeOf(model: Model): Recipe | undefined {
  const genome = model.metadata.get('pare.recipe');
  if (genome === undefined) return undefined;
  const get = (key: string): string => model.metadata.get(`pare.${key}`) ?? '';
  const inherited = get('weights') === 'inherited' ? { inherited: true } : {};
  return { version: get('version'), genome, sourceSha256: get('source_sha256'), seed: get('seed'), ...inherited };
}

function graphCheck(candidate: Model): Check {
  try {
    checkModel(candidate);
    return {
      name: 'graph',
      ok: true,
      detail: `${candidate.graph.nodes.length} nodes in order, every value defined once`,
    };
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    return { name: 'graph', ok: false, detail: error.message };
  }
}

function interfaceCheck(original: Model, candidate: Model): Check {
  const wrong =
    differs('input', modelInputs(original), modelInputs(candidate)) ??
    differs('output', modelOutputs(original), modelOutputs(candidate));
  return { name: 'interface', ok: wrong === undefined, detail: wrong ?? 'same inputs and outputs' };
}

/** Names, order and types must agree, and dims where both say a number. */
function differs(kind: string, a: readonly ValueMeta[], b: readonly ValueMeta[]): string | undefined {
  const names = (list: readonly ValueMeta[]): string => list.map((v) => `"${v.name}"`).join(', ');
  if (names(a) !== names(b)) return `${kind}s are ${names(b)} instead of ${names(a)}`;
  for (const [i, v] of a.entries()) {
    const w = b[i]!;
    const known = v.dims.length > 0 && w.dims.length > 0;
    const same =
      v.dims.length === w.dims.length &&
      v.dims.every((d, j) => typeof d === 'string' || typeof w.dims[j] === 'string' || d === w.dims[j]);
    if (v.dataType !== w.dataType || (known && !same)) {
      return `${kind} "${v.name}" is type ${w.dataType} [${w.dims.join(', ')}] instead of ${v.dataType} [${v.dims.join(', ')}]`;
    }
  }
  return undefined;
}

async function runCheck(
  original: Model,
  candidate: Model,
  options: VerifyOptions,
  checks: Check[],
): Promise<ReadonlyMap<string, number> | undefined> {
  const { runtime, sources } = options;
  const reference = await runtime.load(sources?.original ?? original, { label: 'the original' });
  let session: Session | undefined;
  try {
    session = await runtime.load(sources?.candidate ?? candidate, { label: 'the candidate' });
    return await compareRuns(reference, session, original, candidate, options, checks);
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    checks.push({ name: 'runs', ok: false, detail: error.message });
    return undefined;
  } finally {
    await session?.release();
    await reference.release();
  }
}

async function compareRuns(
  reference: Session,
  session: Session,
  original: Model,
  candidate: Model,
  options: VerifyOptions,
  checks: Check[],
): Promise<ReadonlyMap<string, number>> {
  const dynamic = await openSize(reference, options);
  // maps and sequences (labels of classical models) cannot be fetched
  const names = reference.outputs.filter((o) => o.dataType !== 0).map((o) => o.name);
  const rng = createRng(options.seed ?? 'verify');
  const sums = new Map<string, { error: number; signal: number }>();
  let broken = 0;
  let mismatch: string | undefined;
  let runs = 0;
  for (const batch of reference.inputs.some((i) => typeof i.dims[0] === 'string') ? [1, 2] : [1]) {
    const feeds = randomFeeds(reference.inputs, rng.fork(`batch/${batch}`), {
      batch,
      ...(dynamic === undefined ? {} : { dynamic }),
      ...(options.dims === undefined ? {} : { dims: withBatch(options.dims, reference.inputs, batch) }),
    });
    const before = await runOriginal(reference, feeds, batch, names);
    if (before === undefined) continue;
    const after = await session.run(feeds, names);
    runs++;
    mismatch ??= shapeMismatch(original, candidate, feeds, before, after, options);
    for (const [name, t] of after) {
      const base = before.get(name);
      if (base === undefined || base.data.length !== t.data.length) continue;
      if (finite(base) && !finite(t)) broken++;
      const d = deviation(t, base, 1, 1);
      const sum = sums.get(name) ?? { error: 0, signal: 0 };
      sum.error += d?.error[0] ?? 0;
      sum.signal += d?.signal[0] ?? 0;
      sums.set(name, sum);
    }
  }
  checks.push({
    name: 'runs',
    ok: true,
    detail: `${options.runtime.name} loads and runs it (batch 1${runs > 1 ? ' and 2' : ''}${dynamic === undefined ? '' : `, other open dims made ${dynamic}`})`,
  });
  checks.push({
    name: 'shapes',
    ok: mismatch === undefined,
    detail: mismatch ?? 'outputs have the shapes of the original',
  });
  checks.push({
    name: 'finite',
    ok: broken === 0,
    detail: broken === 0 ? 'outputs are finite' : `${broken} outputs are not finite where the original's are`,
  });
  return new Map([...sums].map(([name, s]) => [name, s.error === 0 ? 0 : Math.sqrt(s.error / s.signal)]));
}

/** Batch 2 may be more than the original itself can do; batch 1 must work. */
async function runOriginal(
  reference: Session,
  feeds: ReadonlyMap<string, RuntimeTensor>,
  batch: number,
  names: readonly string[],
): Promise<Outputs | undefined> {
  try {
    return await reference.run(feeds, names);
  } catch (error) {
    if (batch > 1 && error instanceof PareError) return undefined;
    throw error;
  }
}

/** Sizes to try for open dims that nobody gave, besides the batch: the first that the original runs at; undefined when none are open. */
async function openSize(reference: Session, options: VerifyOptions): Promise<number | undefined> {
  const open = reference.inputs.some(
    (v) => options.dims?.has(v.name) !== true && v.dims.some((d, k) => k > 0 && typeof d === 'string'),
  );
  if (!open) return undefined;
  for (const dynamic of OPEN_SIZES) {
    try {
      const dims = options.dims === undefined ? {} : { dims: withBatch(options.dims, reference.inputs, 1) };
      await reference.run(
        randomFeeds(reference.inputs, createRng('open'), { dynamic, ...dims }),
        reference.outputs
          .slice(0, 1)
          .filter((o) => o.dataType !== 0)
          .map((o) => o.name),
      );
      return dynamic;
    } catch (error) {
      if (!(error instanceof PareError)) throw error;
    }
  }
  // none fits: the sentence that asks for the dims follows
  return undefined;
}

const OPEN_SIZES = [64, 224, 16, 8, 1];

/** Against the original's shapes (but for dims that depend on the data) and against what shape inference says of the candidate. */
function shapeMismatch(
  original: Model,
  candidate: Model,
  feeds: ReadonlyMap<string, RuntimeTensor>,
  before: Outputs,
  after: Outputs,
  options: VerifyOptions,
): string | undefined {
  const inputs = new Map([...feeds].map(([name, t]) => [name, t.dims] as const));
  const infer = (model: Model): Shapes | undefined => {
    try {
      return inferShapes(model, options.table, { dynamic: 1, inputs });
    } catch (error) {
      // another batch may be more than the shapes inside bear
      if (error instanceof PareError) return undefined;
      throw error;
    }
  };
  const [base, inferred] = [infer(original), infer(candidate)];
  for (const [name, t] of after) {
    const type = base?.types.get(name);
    const known = type?.kind === 'tensor' ? type.shape : undefined;
    const expected = before.get(name)?.dims;
    const got = t.dims.join(', ');
    const same =
      expected?.length === t.dims.length &&
      t.dims.every((d, k) => d === expected[k] || (known !== undefined && typeof known[k] !== 'number'));
    if (!same) return `output "${name}" has shape [${got}], the original's is [${expected?.join(', ') ?? 'missing'}]`;
    const said = inferred === undefined ? undefined : concreteShape(inferred, name);
    if (said !== undefined && said.join(', ') !== got) {
      return `output "${name}" has shape [${got}], but shape inference says [${said.join(', ')}]`;
    }
  }
  return undefined;
}

/** Given dims with another batch, where the network leaves it open. */
function withBatch(
  dims: ReadonlyMap<string, readonly number[]>,
  inputs: readonly ValueMeta[],
  batch: number,
): ReadonlyMap<string, readonly number[]> {
  return new Map(
    [...dims].map(([name, list]) => {
      const open = typeof inputs.find((i) => i.name === name)?.dims[0] === 'string';
      return [name, open ? [batch, ...list.slice(1)] : list];
    }),
  );
}

function finite(t: RuntimeTensor): boolean {
  if (!isFloat(t) || !(t.data instanceof Float32Array || t.data instanceof Float64Array)) return true;
  return t.data.every((v: number) => Number.isFinite(v));
}
