// Layer-by-layer reconstruction: every layer of the pruned network is refitted, in topological order, so that fed the *pruned*
// network's activations it gives the *original* network's output there. Ridge regression towards the weights it has.
import type { ChannelGroups, DeadUnits } from '../analysis/groups.js';
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import { floatData, type Runtime, type RuntimeTensor } from '../runtime/runtime.js';
import { withConstants } from './constants.js';
import type { Gram } from './gram.js';
import { addBiases, constantReader, readLayer, writeLayer, windowsOf, type Affine } from './layers.js';
import {
  asFloat,
  covariance,
  drawPositions,
  fitMoments,
  programWeights,
  type Collector,
  type Moments,
  type RawSums,
  type TargetOptions,
} from './moments.js';
import { composed, writePair, type Pair } from './pairs.js';
import { createSolver } from './solver.js';
import { withEditedLayers } from './reference.js';
import { findTargets, type RefitTarget } from './targets.js';
import { inOrder, startWalk, type Feeds, type Walk } from './walk.js';

export interface RefitOptions {
  readonly runtime: Runtime;
  readonly rng: Rng;
  /** Channel groups of the base and its dead units; needed wherever outputs lost channels. */
  readonly groups?: ChannelGroups;
  readonly dead?: DeadUnits;
  /** The base after structural edits, before channels were cut; `start` itself when none was. See reference.ts. */
  readonly edited?: Model;
  /** Positions drawn per image (all when there are fewer). */
  readonly positions?: number;
  /** Share of the mean input variance. */
  readonly ridge?: number;
  /** Further solves in which values that the following activation cuts off may be anything below the cut. */
  readonly clipIterations?: number;
  /** Layers whose input is still exact are refitted as well. */
  readonly all?: boolean;
  /** Only layers with these weights are refitted. */
  readonly only?: ReadonlySet<string>;
  readonly signal?: AbortSignal;
}

/** One refitted layer: share of the target's variance that was and is left unexplained. */
export interface RefitReport {
  readonly layer: string;
  readonly index: number;
  readonly of: number;
  readonly before: number;
  readonly after: number;
}

/** `feeds`: calibration batches. Deterministic; memory: the values at one cut of both networks for all batches. */
export async function* reconstruct(
  original: Model,
  start: Model,
  feeds: readonly Feeds[],
  options: RefitOptions,
): AsyncGenerator<RefitReport, Model> {
  const { runtime, positions = 64, ridge = 1e-3, clipIterations = 2, signal } = options;
  const uncut = (options.dead?.size ?? 0) === 0 ? start : undefined;
  const edited = options.edited ?? uncut;
  const base = edited === undefined ? original : withEditedLayers(original, edited);
  const context = {
    base,
    original,
    ...(options.groups === undefined ? {} : { groups: options.groups }),
    ...(options.dead === undefined ? {} : { dead: options.dead }),
    ...(options.all === undefined ? {} : { all: options.all }),
  };
  const targetsOf = (model: Model): readonly RefitTarget[] =>
    findTargets({ ...context, pruned: model }).filter((t) => options.only?.has(t.layer.weight) ?? true);
  // absent biases first, then the plan on the graph that has them
  let pruned = addBiases(
    start,
    targetsOf(start).flatMap((t) => (t.pair === undefined ? [t.layer] : [])),
  );
  const targets = targetsOf(pruned);
  const originals = startWalk(
    base,
    runtime,
    targets.map((t) => [t.layer.output, ...optional(t.other)]),
    feeds,
  );
  const current = startWalk(
    pruned,
    runtime,
    targets.map((t) => [t.layer.input, ...optional(t.other)]),
    feeds,
  );
  for (const [index, target] of targets.entries()) {
    signal?.throwIfAborted();
    await originals.advance();
    await current.advance();
    const fit = await refitLayer(pruned, target, originals, current, {
      runtime,
      positions,
      ridge,
      clipIterations,
      rng: options.rng,
    });
    if (fit === undefined) continue;
    pruned = withConstants(pruned, fit.changes);
    current.update(pruned);
    yield { layer: target.layer.label, index, of: targets.length, before: fit.before, after: fit.after };
  }
  return pruned;
}

/** Wider layers keep their weights: the Gram matrix alone would take more than 150 MB, several times. */
const WIDEST = 6000;

interface FitSettings {
  readonly runtime: Runtime;
  readonly rng: Rng;
  readonly positions: number;
  readonly ridge: number;
  readonly clipIterations: number;
}

interface LayerFit {
  readonly changes: ReadonlyMap<string, Float32Array>;
  readonly before: number;
  readonly after: number;
}

async function refitLayer(
  model: Model,
  target: RefitTarget,
  originals: Walk,
  current: Walk,
  settings: FitSettings,
): Promise<LayerFit | undefined> {
  const { layer, node, other } = target;
  const { runtime, rng } = settings;
  if (originals.batches === 0 || layer.columns > WIDEST) return undefined;
  const x = current.value(0, layer.input);
  const y = originals.value(0, layer.output);
  if (!fits(target, x, y, other === undefined ? undefined : current.value(0, other))) return undefined;
  const read = constantReader(model.graph);
  const { pair } = target;
  const old = pair === undefined ? readLayer(layer, read) : composed(pair, read);
  const shape: TargetOptions = {
    rank: y.dims.length,
    residual: other !== undefined,
    ...(target.keep === undefined ? {} : { keep: target.keep }),
  };
  const feeds = Array.from({ length: originals.batches }, (_, b): Map<string, RuntimeTensor> => {
    const input = current.value(b, layer.input);
    const drawn = drawPositions(layer, node, input.dims, settings.positions, rng.fork(`${layer.output}/${b}`));
    const own = new Map([
      ['x', asFloat(input)],
      ['xi', drawn.input],
      ['y', asFloat(originals.value(b, layer.output))],
      ['yi', drawn.output],
    ]);
    if (other !== undefined)
      own.set('other', asFloat(originals.value(b, other))).set('otherPruned', asFloat(current.value(b, other)));
    return own;
  });
  const under = (affine: Affine): readonly Feeds[] => {
    const w = programWeights(layer, affine.weights);
    const b = floatData([layer.outputs], Float32Array.from(affine.bias));
    return feeds.map((f) => new Map([...f, ['w', w], ['b', b]]));
  };
  const { input, residual } = await using(
    fitMoments(runtime, layer, node, x.dims, { ...shape, input: true }),
    async (program) => {
      await gather(runtime, program, under(old));
      return program.take();
    },
  );
  if (input === undefined) throw new Error('the moments of the input were asked for');
  const fit = await using(createSolver(runtime, layer, input, settings.ridge), async (solver) => {
    const first = await solver.solve(old, residual);
    const clip = target.clip;
    if (clip === undefined || pair !== undefined || settings.clipIterations === 0) return first;
    return using(fitMoments(runtime, layer, node, x.dims, { ...shape, clip }), async (program) => {
      let { affine } = first;
      for (let i = 0; i < settings.clipIterations; i++) {
        await gather(runtime, program, under(affine));
        ({ affine } = await solver.solve(affine, program.take().residual));
      }
      return { ...first, affine };
    });
  });
  const { affine, before, after } = fit;
  if (!affine.weights.every(Number.isFinite) || !affine.bias.every(Number.isFinite)) return undefined;
  const changes =
    pair === undefined ? writeLayer(layer, affine, read) : writePair(pair, affine, gramFrom(pair, input), read);
  return { changes, before, after };
}

/** The moments of the pruned network's inputs as the factorisation wants them. */
function gramFrom({ dense }: Pair, input: Moments): Gram {
  const { columns } = dense;
  return {
    kind: 'exact',
    group: 1,
    size: columns,
    covariance: Float32Array.from(covariance(input, 0, columns, dense.bias.kind !== 'none')),
    mean: Float32Array.from(input.x, (v) => v / Math.max(1, input.n)),
  };
}

/** Dims of both networks' values must agree but for cut channels; a mutation may have changed more, then the layer stays. */
function fits(target: RefitTarget, x: RuntimeTensor, y: RuntimeTensor, other: RuntimeTensor | undefined): boolean {
  const { layer, node } = target;
  const rank = y.dims.length;
  const expected =
    layer.kind === 'conv'
      ? [x.dims[0]!, layer.outputs, ...windowsOf(node, layer.dims, x.dims).output]
      : [...x.dims.slice(0, -1), layer.outputs];
  const axis = layer.kind === 'conv' ? 1 : rank - 1;
  const original = y.dims.map((d, i) => (i === axis && target.keep !== undefined ? target.keep.length : d));
  if (expected.join() !== original.join()) return false;
  if (layer.kind === 'conv' && x.dims[1] !== (layer.columns / layer.taps) * layer.group) return false;
  return other === undefined || other.dims.join() === expected.join();
}

/** Makes, uses and always releases. */
async function using<R extends { release(): Promise<void> }, T>(
  made: Promise<R>,
  use: (resource: R) => Promise<T>,
): Promise<T> {
  const resource = await made;
  try {
    return await use(resource);
  } finally {
    await resource.release();
  }
}

async function gather<T>(runtime: Runtime, program: Collector<T>, feeds: readonly Feeds[]): Promise<void> {
  await inOrder<RawSums>(
    feeds.length,
    runtime.concurrency,
    (b) => program.run(feeds[b]!),
    (_, sums) => program.add(sums),
  );
}

function optional(name: string | undefined): readonly string[] {
  return name === undefined ? [] : [name];
}
