// factorize-conv: one Conv, Gemm or MatMul becomes two of low rank. The last node keeps the name of the original's output, so that a
// refit finds what it has to reproduce; weights are computed when somebody reads them, so counting a candidate costs nothing.
import { PareError } from '../../src/errors.js';
import {
  attrInts,
  attrString,
  intAttribute,
  intsAttribute,
  withAttributes,
  type Attribute,
  type Node,
} from '../../src/ir/graph.js';
import { factoriseDepthwise } from '../../src/recovery/depthwise.js';
import { factorise, isFactorable, type Factorisation, type Factors } from '../../src/recovery/factors.js';
import type { Json } from '../genome.js';
import type { ModelEditor } from './edit.js';
import { layerMutation } from './layer-mutation.js';
import {
  constantTensorOf,
  gramOf,
  lazyTensor,
  numbersOf,
  openLayers,
  product,
  shiftBias,
  tensorCache,
  type OpenLayer,
} from './layers.js';
import type { Mutation, MutationContext, Place } from './mutation.js';
import { isCount } from './params.js';

/**
 * 'spatial': k x 1 then 1 x k; 'spatial-horizontal': 1 x k then k x 1; 'svd': k x k then 1 x 1 (matrices: two thin ones);
 * 'channel': 1 x 1 then k x k; 'depthwise': k x k for each channel (rank filters each), then 1 x 1.
 */
export const factorKinds = ['spatial', 'spatial-horizontal', 'svd', 'channel', 'depthwise'] as const;
export type FactorKind = (typeof factorKinds)[number];

export interface FactorParams {
  readonly weight: string;
  readonly kind: FactorKind;
  readonly rank: number;
}

export const FACTORIZE_CONV = 'factorize-conv';

/** One way to factorise one layer, for all ranks. */
export interface FactorSite {
  readonly weight: string;
  readonly kind: FactorKind;
  /** MACs now, and after: fixed + perRank x rank. */
  readonly macs: number;
  readonly fixed: number;
  readonly perRank: number;
  /** Ranks that save MACs and obey roundTo and maxRatio, ascending. */
  readonly ranks: readonly number[];
  /** Unexplained share of the output at each of `ranks`, weighted by the layer's importance. Computed when asked, and kept. */
  readonly errors: () => readonly number[];
}

export interface Factorizer {
  readonly mutation: Mutation;
  readonly sites: (context: MutationContext) => readonly FactorSite[];
}

/** Decompositions are kept between calls, so one factorizer should serve a whole search. */
export function createFactorizer(): Factorizer {
  const decompose = decomposer();
  const ranks: RankCurves = new WeakMap();
  const sites = (context: MutationContext): FactorSite[] =>
    openLayers(context).flatMap((open) => sitesOf(open, context, decompose));
  const frame = layerMutation<FactorParams>({
    name: FACTORIZE_CONV,
    summary:
      'replaces a convolution or matrix by two thinner ones (k x 1 and 1 x k, low rank, depthwise and pointwise)',
    form: '{"weight": name, "kind": kind, "rank": number}',
    read: readParams,
    propose(context, rng) {
      const all = sites(context);
      if (all.length === 0) return undefined;
      const weight = rng.pick([...new Set(all.map((s) => s.weight))]);
      const site = rng.pick(all.filter((s) => s.weight === weight));
      return paramsOf({ weight, kind: site.kind, rank: rng.pick(site.ranks) });
    },
    places: (context) => sites(context).flatMap(placesOf),
    change: (params, open, context, edit) => replaceLayer(params, open, context, edit, decompose, ranks),
  });
  const mutation: Mutation = {
    ...frame,
    removal(group, context) {
      const first = group.members.find((m) => m.role === 'out')?.tensor;
      const bytes = first === undefined ? undefined : constantTensorOf(context, first).bytes;
      const losses = bytes === undefined ? undefined : ranks.get(bytes)?.();
      if (losses === undefined || losses.length !== group.size + 1) return undefined;
      return { order: Array.from({ length: group.size }, (_, i) => group.size - 1 - i), losses };
    },
  };
  return { mutation, sites };
}

function placesOf(site: FactorSite): Place[] {
  return site.ranks.map((rank, i) => ({
    params: paramsOf({ weight: site.weight, kind: site.kind, rank }),
    site: site.weight,
    saving: site.macs - site.fixed - site.perRank * rank,
    error: () => site.errors()[i]!,
  }));
}

function paramsOf({ weight, kind, rank }: FactorParams): Json {
  return { weight, kind, rank };
}

function readParams(record: { readonly [key: string]: Json }): FactorParams | undefined {
  const { weight, kind, rank } = record;
  const known = factorKinds.find((k) => k === kind);
  return typeof weight === 'string' && known !== undefined && isCount(rank) ? { weight, kind: known, rank } : undefined;
}

/** What the loss of the last k ranks of a first factor costs, by the function that gives its bytes. */
type RankCurves = WeakMap<object, () => readonly number[]>;

/** Errors at ranks 1..most: exact at some, geometric in between, never rising. */
function errorCurve(made: Factorisation, most: number): readonly number[] {
  const knots = [1];
  // small ranks are cheap to fit, and there the curve has corners
  for (let r = 1; r < most;) knots.push((r = Math.min(most, r < 16 ? r + 1 : Math.round(r * 1.25))));
  const exact = knots.map((r) => Math.max(1e-9, made.error(r)));
  const curve = Array.from({ length: most + 1 }, () => Infinity);
  knots.forEach((r, i) => {
    const before = i === 0 ? r : knots[i - 1]!;
    for (let k = before; k <= r; k++) {
      const t = r === before ? 1 : (k - before) / (r - before);
      const value = i === 0 ? exact[i]! : exact[i - 1]! ** (1 - t) * exact[i]! ** t;
      curve[k] = Math.min(value, curve[k - 1] ?? Infinity);
    }
  });
  return curve;
}

// --- where and at what cost ------------------------------------------------------------------------------------------------

/** Ranks offered of one site at most. */
const RANKS = 48;

function sitesOf(open: OpenLayer, context: MutationContext, decompose: Decomposer): FactorSite[] {
  const { layer, macs } = open;
  if (isFactor(layer.weight, context)) return [];
  const found: FactorSite[] = [];
  let vertical: number | undefined;
  for (const kind of kindsOf(open)) {
    const first = firstAxes(kind, open);
    if (kind !== 'depthwise' && !isFactorable(layer.outputs, open.channels, open.kernel, first)) continue;
    const { fixed, perRank } = costOf(kind, open);
    // the same shape turned round: only where it is cheaper
    if (kind === 'spatial') vertical = perRank;
    if (kind === 'spatial-horizontal' && vertical !== undefined && perRank >= vertical) continue;
    const ranks = ranksOf(kind, open, fixed, perRank, context);
    if (ranks.length === 0) continue;
    const importance = context.knowledge?.importance(layer.output) ?? 1;
    let errors: readonly number[] | undefined;
    const compute = (): readonly number[] => {
      const curve = errorCurve(decompose(open, kind, context), ranks.at(-1)!);
      return ranks.map((r) => importance * curve[r]!);
    };
    found.push({ weight: layer.weight, kind, macs, fixed, perRank, ranks, errors: () => (errors ??= compute()) });
  }
  return found;
}

/** A factor is not factorised again: its twin stands beside it. */
function isFactor(weight: string, { analysis }: MutationContext): boolean {
  const [, stem, which, tail = ''] = /^(.*)\.(first|second)(_\d+)?$/.exec(weight) ?? [];
  return which !== undefined && analysis.constantUses.has(`${stem}.${which === 'first' ? 'second' : 'first'}${tail}`);
}

function kindsOf({ layer, kernel, channels }: OpenLayer): readonly FactorKind[] {
  if (layer.kind !== 'conv' || layer.taps === 1) return ['svd'];
  const wide = kernel.filter((k) => k > 1).length;
  const spatial: readonly FactorKind[] = wide >= 2 ? ['spatial', 'spatial-horizontal'] : [];
  return channels > 1 ? [...spatial, 'svd', 'channel', 'depthwise'] : [...spatial, 'svd'];
}

/** Which kernel axes the first factor takes. */
function firstAxes(kind: FactorKind, { kernel }: OpenLayer): boolean[] {
  if (kind === 'svd' || kind === 'depthwise') return kernel.map(() => true);
  if (kind === 'channel') return kernel.map(() => false);
  const first = kernel.findIndex((k) => k > 1);
  return kernel.map((_, a) => (a === first) === (kind === 'spatial'));
}

function costOf(kind: FactorKind, open: OpenLayer): { readonly fixed: number; readonly perRank: number } {
  const { layer, channels, kernel, input, output, rows } = open;
  if (layer.kind !== 'conv') return { fixed: 0, perRank: rows * (channels + layer.outputs) };
  const places = rows * product(output);
  if (kind === 'depthwise') return { fixed: 0, perRank: places * channels * (layer.taps + layer.outputs) };
  const first = firstAxes(kind, open);
  const taps = (which: boolean): number => product(kernel.filter((_, a) => first[a] === which));
  const between = rows * product(first.map((own, a) => (own ? output[a]! : input[a]!)));
  return { fixed: 0, perRank: between * channels * taps(true) + places * layer.outputs * taps(false) };
}

/** The largest rank that saves anything. */
function breakEven(open: OpenLayer, fixed: number, perRank: number): number {
  return Math.ceil((open.macs - fixed) / perRank) - 1;
}

function ranksOf(
  kind: FactorKind,
  open: OpenLayer,
  fixed: number,
  perRank: number,
  { roundTo, maxRatio }: MutationContext,
): number[] {
  const most = Math.min(breakEven(open, fixed, perRank), fullRank(kind, open));
  const least = Math.max(1, Math.ceil(((1 - maxRatio) * open.macs - fixed) / perRank - 1e-9));
  // filters a channel are few; ranks are widths
  const grain = kind === 'depthwise' || most < roundTo ? 1 : Math.max(1, Math.floor(roundTo));
  const ranks: number[] = [];
  for (let r = Math.ceil(least / grain) * grain; r <= most; r += grain) ranks.push(r);
  if (ranks.length <= RANKS) return ranks;
  const step = ranks.length / RANKS;
  return Array.from({ length: RANKS }, (_, i) => ranks[Math.min(ranks.length - 1, Math.round((i + 1) * step) - 1)]!);
}

function fullRank(kind: FactorKind, open: OpenLayer): number {
  const { layer, channels, kernel } = open;
  if (kind === 'depthwise') return Math.min(4, layer.taps, layer.outputs);
  const first = firstAxes(kind, open);
  const taps = (which: boolean): number => product(kernel.filter((_, a) => first[a] === which));
  return Math.min(layer.outputs * taps(false), channels * taps(true));
}

// --- the numbers -----------------------------------------------------------------------------------------------------------

type Decomposer = (open: OpenLayer, kind: FactorKind, context: MutationContext) => Factorisation;

function decomposer(): Decomposer {
  const cached = tensorCache<Factorisation>();
  return (open, kind, context) =>
    cached(constantTensorOf(context, open.layer.weight), gramOf(open, context), kind, () => {
      const numbers = numbersOf(open, context);
      if (kind === 'depthwise') return factoriseDepthwise(numbers);
      const { fixed, perRank } = costOf(kind, open);
      return factorise(numbers, firstAxes(kind, open), Math.max(1, breakEven(open, fixed, perRank)));
    });
}

// --- the two nodes ---------------------------------------------------------------------------------------------------------

function replaceLayer(
  { kind, rank }: FactorParams,
  open: OpenLayer,
  context: MutationContext,
  edit: ModelEditor,
  decompose: Decomposer,
  curves: RankCurves,
): void {
  const { layer, node, channels, kernel, macs } = open;
  const { fixed, perRank } = costOf(kind, open);
  if (!kindsOf(open).includes(kind))
    throw new PareError(`${FACTORIZE_CONV}: "${layer.weight}" cannot be factorised by "${kind}"`);
  if (rank > fullRank(kind, open) || fixed + perRank * rank >= macs) {
    const most = Math.min(breakEven(open, fixed, perRank), fullRank(kind, open));
    throw new PareError(
      `${FACTORIZE_CONV}: "${layer.weight}" of rank ${rank} by "${kind}" would save nothing: at most ${most}`,
    );
  }
  const first = firstAxes(kind, open);
  const { dataType } = constantTensorOf(context, layer.weight);
  let made: Factors | undefined;
  const factors = (): Factors => (made ??= decompose(open, kind, context).factors(rank));
  const shift = gramOf(open, context) === undefined ? undefined : (): Float64Array => factors().shift;
  const bias = shiftBias(open, context, edit, dataType, shift);
  const middle = edit.fresh(`${node.outputs[0]!}.first`);
  const name = (which: string): string => `${layer.weight}.${which}`;
  const constant = (which: 'first' | 'second', dims: readonly number[], values: () => Float64Array): string => {
    const tensor = lazyTensor(name(which), dataType, dims, values);
    if (which === 'first' && kind !== 'depthwise') {
      const importance = context.knowledge?.importance(layer.output) ?? 1;
      let losses: readonly number[] | undefined;
      const compute = (): readonly number[] => {
        const curve = errorCurve(decompose(open, kind, context), rank);
        return Array.from({ length: rank + 1 }, (_, k) => importance * (k === rank ? 1 : curve[rank - k]!));
      };
      curves.set(tensor.bytes!, () => (losses ??= compute()));
    }
    return edit.constant(tensor, layer.node);
  };
  const nodeName = node.name === '' ? '' : `${node.name}.first`;

  if (layer.kind !== 'conv') {
    // MatMul of [I, rank]; then what the layer was, of [rank, O] or [O, rank]
    const w1 = constant('first', [channels, rank], () => swapped(factors().first, rank, channels));
    const rows = layer.rowMajor ? [layer.outputs, rank] : [rank, layer.outputs];
    const w2 = constant('second', rows, () => {
      const values = factors().second.map((v) => v / layer.alpha);
      return layer.rowMajor ? values : swapped(values, layer.outputs, rank);
    });
    edit.replace(layer.node, [
      {
        name: nodeName,
        opType: 'MatMul',
        domain: node.domain,
        inputs: [layer.input, w1],
        outputs: [middle],
        attributes: new Map(),
      },
      { ...node, inputs: withBias([middle, w2], bias) },
    ]);
    return;
  }
  const ones = kernel.map(() => 1);
  const depthwise = kind === 'depthwise';
  const of = (which: boolean): number[] => kernel.map((k, a) => (first[a] === which ? k : 1));
  const filters = depthwise ? channels * rank : rank;
  const w1 = constant('first', [filters, depthwise ? 1 : channels, ...of(true)], () => factors().first);
  const w2 = constant('second', [layer.outputs, filters, ...(depthwise ? ones : of(false))], () => factors().second);
  edit.replace(layer.node, [
    {
      ...axesOf(node, kernel, first, true, depthwise ? channels : 1),
      name: nodeName,
      inputs: [layer.input, w1],
      outputs: [middle],
    },
    { ...axesOf(node, kernel, first, false, 1), inputs: withBias([middle, w2], bias) },
  ]);
}

function withBias(inputs: readonly string[], bias: string): readonly string[] {
  return bias === '' ? inputs : [...inputs, bias];
}

function swapped(m: Float64Array, rows: number, cols: number): Float64Array {
  const out = new Float64Array(m.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = m[r * cols + c]!;
  return out;
}

/** The Conv with the window of the axes that `first` gives to this factor, and 1 along the others. */
function axesOf(node: Node, kernel: readonly number[], first: readonly boolean[], which: boolean, group: number): Node {
  const own = (list: readonly number[] | undefined, rest: number): number[] | undefined =>
    list?.map((v, i) => (first[i % kernel.length] === which ? v : rest));
  const ints = (name: string, list: readonly number[] | undefined): Attribute | undefined =>
    list === undefined ? undefined : intsAttribute(name, list);
  const same = attrString(node, 'auto_pad', 'NOTSET').startsWith('SAME');
  return withAttributes(node, {
    kernel_shape: intsAttribute('kernel_shape', own(kernel, 1)!),
    strides: ints('strides', own(attrInts(node, 'strides'), 1)),
    dilations: ints('dilations', own(attrInts(node, 'dilations'), 1)),
    pads: same ? undefined : ints('pads', own(attrInts(node, 'pads'), 0)),
    group: intAttribute('group', group),
  });
}
