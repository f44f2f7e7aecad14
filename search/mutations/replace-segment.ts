// replace-segment: a convolution, or a chain from one convolution to another, gives way to a mined segment between the same values that
// costs less (AutoGO, methods.md §1.9). Its first weights follow the linear map of the first convolution (segments/fit.ts); a refit on
// activations is what makes it worth something: `refit`.
import { PareError } from '../../src/errors.js';
import { concreteShape } from '../../src/analysis/shapes.js';
import { graphBuilder } from '../../src/ir/builder.js';
import { opsetOf, type Node } from '../../src/ir/graph.js';
import { DataType, readNumbers } from '../../src/ir/tensor.js';
import { indexGraph } from '../../src/ir/walk.js';
import type { Rng } from '../../src/rng.js';
import type { Json } from '../genome.js';
import { segmentWeights, type LinearMap } from '../segments/fit.js';
import { fittingSegments, segmentLibrary } from '../segments/library.js';
import {
  emitSegment,
  planSegment,
  SEGMENT_OPS,
  segmentMacs,
  type Segment,
  type SegmentNode,
  type SegmentOp,
} from '../segments/segment.js';
import { editModel } from './edit.js';
import { constantTensorOf, gramOf, lazyTensor, numbersOf, openLayers, type OpenLayer } from './layers.js';
import type { Mutation, MutationContext, Place } from './mutation.js';
import { recordOf } from './params.js';

const REPLACE_SEGMENT = 'replace-segment';

/** Nodes of a chain at most. */
const LONGEST = 8;

/** A chain from a dense convolution to one (the same or a later one), and what a segment must fit between. */
interface Chain {
  readonly first: OpenLayer;
  /** Output of its last convolution. */
  readonly to: string;
  readonly nodes: readonly number[];
  readonly macs: number;
  readonly ends: { readonly cin: number; readonly cout: number; readonly h: number; readonly w: number };
  readonly stride: number;
}

export function replaceSegment(): Mutation {
  let library: readonly Segment[] | undefined;
  const fitting = (chain: Chain, context: MutationContext): readonly Segment[] => {
    library ??= usableSegments(segmentLibrary());
    const { cin, cout, h, w } = chain.ends;
    return fittingSegments(library, { cin, cout, h, w, stride: chain.stride, macs: chain.macs - 1 })
      .map((f) => f.segment)
      .filter((s) => opsetOf(context.analysis.model) >= 11 || !s.nodes.some((n) => n.op === 'ReLU6'));
  };
  return {
    name: REPLACE_SEGMENT,
    summary: 'puts a cheaper segment of other networks in the place of one or more convolutions',
    law: 'approximate',
    refit: true,
    propose(context: MutationContext, rng: Rng): Json | undefined {
      for (const chain of rng.shuffle(chains(context))) {
        const segments = fitting(chain, context);
        if (segments.length > 0) return paramsOf(chain, rng.pick(segments).nodes);
      }
      return undefined;
    },
    places: (context) =>
      chains(context).flatMap((chain) =>
        fitting(chain, context).map((segment): Place => ({
          params: paramsOf(chain, segment.nodes),
          site: chain.first.layer.weight,
          saving: chain.macs - segmentMacs(segment, chain.ends, chain.ends.h, chain.ends.w)!,
        })),
      ),
    apply(params: Json, context: MutationContext) {
      const { weight, to, nodes } = readParams(params);
      const chain = chains(context).find((c) => c.first.layer.weight === weight && c.to === to);
      if (chain === undefined) {
        throw new PareError(`${REPLACE_SEGMENT}: no chain leads from "${weight}" to "${to}" in this network`);
      }
      const segment: Segment = { nodes, stride: chain.stride, keepsChannels: false, count: 0, networks: 0 };
      const macs = segmentMacs(segment, chain.ends, chain.ends.h, chain.ends.w);
      if (macs === undefined || macs > chain.macs) {
        const why = macs === undefined ? 'does not fit there' : `costs ${macs} MACs, more than the ${chain.macs} there`;
        throw new PareError(`${REPLACE_SEGMENT}: the segment for "${weight}" to "${to}" ${why}`);
      }
      return replaced(segment, chain, context);
    },
  };
}

/** Those that a linear map can be led through and that end in a convolution, without what is identity before a refit. */
function usableSegments(all: readonly Segment[]): readonly Segment[] {
  const found = new Map<string, Segment>();
  for (const segment of all) {
    const nodes = plainNodes(segment.nodes);
    if (nodes !== undefined && !found.has(JSON.stringify([nodes, segment.stride]))) {
      found.set(JSON.stringify([nodes, segment.stride]), { ...segment, nodes });
    }
  }
  return [...found.values()];
}

const PASSING: ReadonlySet<SegmentOp> = new Set(['ReLU', 'ReLU6', 'Swish', 'GeLU']);

/** Without normalisations and leading activations; undefined where it is no chain, or ends otherwise. Every convolution has a bias. */
function plainNodes(nodes: readonly SegmentNode[]): readonly SegmentNode[] | undefined {
  if (nodes.some((n, i) => n.from.length !== 1 || n.from[0] !== i - 1)) return undefined;
  const kept = nodes.filter((n) => n.op !== 'BatchNorm');
  while (PASSING.has(kept[0]?.op ?? 'Conv')) kept.shift();
  const known = kept.every((n) => PASSING.has(n.op) || n.op === 'Conv' || n.op === 'Depthwise' || n.op === 'Avgpool');
  const square = kept.every(
    (n) => n.kernel === undefined || (n.kernel[0] === n.kernel[1] && (n.kernel[0] % 2 === 1 || n.op === 'Avgpool')),
  );
  if (!known || !square || kept.at(-1)?.op !== 'Conv') return undefined;
  return kept.map((n, i) => ({
    ...n,
    from: [i - 1],
    ...(n.op === 'Conv' || n.op === 'Depthwise' ? { bias: true } : {}),
  }));
}

function chains(context: MutationContext): Chain[] {
  const { analysis, ignore } = context;
  const { graph } = analysis.model;
  const index = indexGraph(graph);
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const open = new Map(openLayers(context).map((l) => [l.layer.node, l]));
  const found: Chain[] = [];
  for (const first of open.values()) {
    const { layer } = first;
    if (layer.kind !== 'conv' || first.input.length !== 2 || first.kernel.some((k) => k % 2 === 0)) continue;
    if (context.knowledge !== undefined && context.knowledge.gram(layer.output) === undefined) continue;
    const nodes: number[] = [];
    let macs = 0;
    for (let at: number | undefined = layer.node; at !== undefined && nodes.length < LONGEST;) {
      const node: Node = graph.nodes[at]!;
      const conv = open.get(at);
      if (at !== layer.node && conv === undefined && !BETWEEN.has(node.opType)) break;
      if ([node.name, ...node.outputs, ...node.inputs].some(ignore) || node.outputs.length !== 1) break;
      nodes.push(at);
      macs += conv?.macs ?? 0;
      const to = node.outputs[0]!;
      if (conv !== undefined) {
        const chain = chainOf(first, conv, nodes, macs, context);
        if (chain !== undefined) found.push(chain);
      }
      const users = index.consumers.get(to) ?? [];
      at = users.length === 1 && !outputs.has(to) && graph.nodes[users[0]!]!.inputs[0] === to ? users[0] : undefined;
    }
  }
  return found;
}

/** What may lie between the convolutions of a chain. */
const BETWEEN: ReadonlySet<string> = new Set([
  'BatchNormalization',
  'Relu',
  'Clip',
  'LeakyRelu',
  'Sigmoid',
  'HardSwish',
]);

function chainOf(
  first: OpenLayer,
  last: OpenLayer,
  nodes: readonly number[],
  macs: number,
  { analysis }: MutationContext,
): Chain | undefined {
  const [from, to] = [
    concreteShape(analysis.shapes, first.layer.input),
    concreteShape(analysis.shapes, last.node.outputs[0]!),
  ];
  if (last.layer.kind !== 'conv' || from?.length !== 4 || to?.length !== 4) return undefined;
  const [, cin, h, w] = from as readonly [number, number, number, number];
  const [, cout, h2, w2] = to as readonly [number, number, number, number];
  const stride = Math.round(h / h2);
  if (Math.ceil(h / stride) !== h2 || Math.ceil(w / stride) !== w2) return undefined;
  return { first, to: last.node.outputs[0]!, nodes: [...nodes], macs, ends: { cin, cout, h, w }, stride };
}

/** The segment stands where the chain's last convolution was, and gives its value: a refit finds what it has to reproduce. */
function replaced(segment: Segment, chain: Chain, context: MutationContext) {
  const { model } = context.analysis;
  const { first, ends, nodes } = chain;
  const { dataType } = constantTensorOf(context, first.layer.weight);
  const at = nodes.at(-1)!;
  const plan = planSegment(segment, ends)!;
  let made: ReturnType<typeof segmentWeights> | undefined;
  const weights = (): ReturnType<typeof segmentWeights> => (made ??= segmentWeights(plan, linearMapOf(chain, context)));

  const opset = opsetOf(model);
  const g = graphBuilder({ opset });
  const end = emitSegment(g, segment, g.input('x', DataType.FLOAT, [1, ends.cin, ends.h, ends.w]), ends);
  g.output(end);
  const { graph } = g.model();
  const edit = editModel(model);
  const stem = `${first.layer.weight}.segment`;
  const names = new Map([
    ['x', first.layer.input],
    [end, chain.to],
  ]);
  let conv = 0;
  const copies = graph.nodes.map((node): Node => {
    const own = node.opType === 'Conv' ? conv++ : -1;
    const inputs = node.inputs.map((name, i) => {
      const tensor = graph.initializers.get(name);
      if (tensor === undefined) return names.get(name) ?? name;
      const values = (): Float64Array =>
        tensor.bytes === undefined
          ? weights()[own]![i === 1 ? 'weights' : 'bias']
          : Float64Array.from(readNumbers(tensor));
      return edit.constant(lazyTensor(`${stem}.${name.replace(/^segment\./, '')}`, dataType, tensor.dims, values), at);
    });
    const outputs = node.outputs.map((name) => {
      const known = names.get(name) ?? edit.fresh(`${stem}.${name}`);
      names.set(name, known);
      return known;
    });
    return { ...node, name: `${stem}.${node.name}`, inputs, outputs };
  });
  edit.replace(at, copies);
  return edit.model();
}

/** The first convolution's map; where the chain goes on, its last one's outputs are not known beforehand. */
function linearMapOf({ first, ends, nodes }: Chain, context: MutationContext): LinearMap {
  const { weights, outputs, channels } = numbersOf(first, context);
  const size = Math.max(...first.kernel);
  const taps = first.layer.taps;
  const gram = gramOf(first, context);
  const centre = (taps - 1) >> 1;
  const square = first.kernel.every((k) => k === size);
  const whole = square ? weights : new Float64Array(outputs * channels * size * size);
  const columns = channels * size * size;
  const covariance = (row: Float64Array): { readonly mean: number; readonly variance: number } => {
    let [mean, variance] = [0, 0];
    if (gram === undefined) return { mean: 0, variance: row.reduce((a, b) => a + b * b, 0) };
    const exact = gram.kind === 'exact' && square;
    const n = gram.size;
    const of = exact ? row : Float64Array.from({ length: n }, (_, c) => tapSum(row, c, columns / channels));
    if (!exact && gram.kind === 'exact') return { mean: 0, variance: row.reduce((a, b) => a + b * b, 0) };
    for (let i = 0; i < n; i++) {
      mean += of[i]! * gram.mean[i]!;
      if (gram.kind === 'diagonal') variance += of[i]! ** 2 * gram.covariance[i]!;
      else for (let j = 0; j < n; j++) variance += of[i]! * of[j]! * gram.covariance[i * n + j]!;
    }
    return { mean, variance };
  };
  // another convolution makes the outputs: as many directions of the first as there are, in order
  const shared = Math.min(outputs, ends.cout);
  const single = nodes.length === 1;
  const own = single ? whole : new Float64Array(ends.cout * columns);
  if (!single) own.set(whole.subarray(0, shared * columns));
  if (!square) {
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        const middle = c * size * size + ((size * size - 1) >> 1);
        own[o * columns + middle] = weights[(o * channels + c) * taps + centre]!;
      }
    }
  }
  const bias = single && first.layer.bias.kind !== 'add' ? (first.node.inputs[2] ?? '') : '';
  const offsets = bias === '' ? undefined : readNumbers(constantTensorOf(context, bias));
  const mean = Float64Array.from({ length: ends.cout }, (_, o) => {
    const row = own.subarray(o * columns, (o + 1) * columns);
    return single ? covariance(row).mean + (offsets?.[o] ?? 0) : 0;
  });
  return { outputs: ends.cout, channels, size, weights: own, mean, ...(gram === undefined ? {} : { covariance }) };
}

function tapSum(row: Float64Array, channel: number, taps: number): number {
  return row.subarray(channel * taps, (channel + 1) * taps).reduce((a, b) => a + b, 0);
}

function paramsOf({ first, to }: Chain, nodes: readonly SegmentNode[]): Json {
  // the cast: such nodes are plain JSON
  return { weight: first.layer.weight, to, nodes: nodes as unknown as Json };
}

function readParams(params: Json): {
  readonly weight: string;
  readonly to: string;
  readonly nodes: readonly SegmentNode[];
} {
  const record = recordOf(params);
  const [weight, to, list] = [record?.['weight'], record?.['to'], record?.['nodes']];
  const nodes = Array.isArray(list) ? (list as readonly Json[]).map(readNode) : [];
  const plain = nodes.length > 0 && nodes.every((n) => n !== undefined) ? plainNodes(nodes) : undefined;
  if (typeof weight !== 'string' || typeof to !== 'string' || plain === undefined) {
    throw new PareError(
      `${REPLACE_SEGMENT}: parameters must be {"weight": name, "to": value, "nodes": [operators of a segment]}, not ${JSON.stringify(params).slice(0, 300)}`,
    );
  }
  return { weight, to, nodes: plain };
}

function readNode(json: Json): SegmentNode | undefined {
  const record = recordOf(json);
  const op = SEGMENT_OPS.find((o) => o === record?.['op']);
  const numbers = (key: string): number[] | undefined => {
    const value = record?.[key];
    // the casts: Array.isArray does not narrow readonly arrays, and every element is looked at
    return Array.isArray(value) && (value as readonly Json[]).every((v) => typeof v === 'number')
      ? [...(value as number[])]
      : undefined;
  };
  const count = (key: string): number | undefined => {
    const value = record?.[key];
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= 1024 ? value : undefined;
  };
  const [from, kernel] = [numbers('from'), numbers('kernel')];
  if (op === undefined || from === undefined) return undefined;
  const [stride, groups] = [count('stride'), count('groups')];
  const width = record?.['width'];
  const [of, times] = Array.isArray(width) ? (width as readonly Json[]) : [];
  return {
    op,
    from,
    ...(kernel === undefined ? {} : { kernel: [kernel[0] ?? 1, kernel[1] ?? 1] }),
    ...(stride === undefined ? {} : { stride }),
    ...(groups === undefined ? {} : { groups }),
    ...((of === 'in' || of === 'out') && typeof times === 'number' && times > 0 && times < 64
      ? { width: [of, times] }
      : {}),
  };
}
