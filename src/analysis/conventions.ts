// How other people's counters count, so that their figures can be compared with ours. Source: the counters' own code, as
// read in fvcore `flop_count.py`, thop 0.1.1 `vision/`, ptflops `pytorch` and AIO-P `tf_comp_graph_flops_counter.py`.
//
// | convention | bias | BN, norms (per element) | activations (per element)  | pooling                     | ConvTranspose by  | MatMul of 2 activations | fused Attention | recurrent |
// |------------|------|-------------------------|----------------------------|-----------------------------|-------------------|-------------------------|-----------------|-----------|
// | mac        | no   | 0                       | 0                          | 0                           | input positions   | yes                     | yes             | yes       |
// | fvcore     | no   | BN 2, other 5 (bare 4)  | 0 (resize 1, linear 4)     | global average: 1 per input | input positions   | yes                     | no              | no        |
// | thop       | no   | 4                       | LeakyRelu 1, Softmax 3     | average: 1 per output,      | output positions  | no                      | no              | yes       |
// |            |      |                         |                            | global: 1 per input + 1     | (stride^2 x more) |                         |                 |           |
// | ptflops    | yes  | 2                       | 1                          | 1 per input                 | input positions   | no                      | yes             | yes       |
// | aiop       | yes  | 2                       | 1                          | 1 per output                | output positions  | yes                     | yes             | yes       |
//
// All count a multiply-accumulate as one. ptflops means its counting rules as published (and as Torch-Pruning took them over);
// its releases since 0.7 see a ReLU or pooling module twice, once as a module and once as a function, which is not imitated. thop's Softmax is 3n - 1 for n entries. aiop has no grouped convolution: a Conv is
// either depthwise or counted as if dense. Subgraphs and functions count as the sum of their nodes, times trip count where known.
import { attrString } from '../ir/graph.js';
import type { CostContext, OpDef } from '../ops/op.js';
import { countElements } from '../ops/rules.js';

export type ConventionName = 'mac' | 'fvcore' | 'thop' | 'ptflops' | 'aiop';
export const conventionNames: readonly ConventionName[] = ['mac', 'fvcore', 'thop', 'ptflops', 'aiop'];

/** What a node does with its multiply-accumulates. */
export type CostKind = 'conv' | 'depthwise' | 'linear' | 'attention' | 'recurrent' | 'other';

export interface Convention {
  readonly bias: boolean;
  readonly transposedByOutput: boolean;
  readonly activationProducts: boolean;
  readonly fusedAttention: boolean;
  readonly recurrent: boolean;
  readonly groups: boolean;
  /** Cost of operators that are no contractions; undefined when dims are unknown. */
  readonly other: (ctx: CostContext, def: OpDef) => number | undefined;
}

const mac: Convention = {
  bias: false,
  transposedByOutput: false,
  activationProducts: true,
  fusedAttention: true,
  recurrent: true,
  groups: true,
  other: () => 0,
};

export const conventions: Readonly<Record<ConventionName, Convention>> = {
  mac,
  fvcore: {
    ...mac,
    fusedAttention: false,
    recurrent: false,
    other: (ctx, def) => {
      if (def.opType === 'BatchNormalization') return elements(ctx, 2);
      if (AFFINE.has(def.opType)) return elements(ctx, ctx.arity > 1 ? 5 : 4);
      if (def.opType === 'GlobalAveragePool') return inputElements(ctx, 1);
      if (RESIZES.has(def.opType)) return elements(ctx, attrString(ctx.node, 'mode', 'nearest') === 'nearest' ? 1 : 4);
      return 0;
    },
  },
  thop: {
    ...mac,
    transposedByOutput: true,
    activationProducts: false,
    fusedAttention: false,
    other: (ctx, def) => {
      if (def.category === 'norm') return elements(ctx, 4);
      if (def.opType === 'LeakyRelu' || def.opType === 'AveragePool') return elements(ctx, 1);
      if (def.opType === 'GlobalAveragePool') return plus(inputElements(ctx, 1), elements(ctx, 1));
      if (def.opType === 'Softmax' || def.opType === 'LogSoftmax') {
        const all = elements(ctx, 1);
        const length = ctx.outputShape(0)?.at(-1);
        return all === undefined || length === undefined || length === 0 ? all : 3 * all - all / length;
      }
      return 0;
    },
  },
  ptflops: {
    ...mac,
    bias: true,
    activationProducts: false,
    other: (ctx, def) => {
      if (def.category === 'norm') return elements(ctx, 2);
      if (isActivation(def)) return elements(ctx, 1);
      if (def.category === 'pool') return inputElements(ctx, 1);
      if (RESIZES.has(def.opType)) return elements(ctx, 1);
      return 0;
    },
  },
  aiop: {
    ...mac,
    bias: true,
    transposedByOutput: true,
    groups: false,
    other: (ctx, def) => {
      if (def.category === 'norm') return elements(ctx, 2);
      if (isActivation(def) || def.category === 'pool') return elements(ctx, 1);
      return 0;
    },
  },
};

/**
 * Cost of the current node by a convention. `kind` is the node's, `macs` what its own rule says; undefined when it cannot
 * be told.
 */
export function costBy(
  convention: Convention,
  ctx: CostContext,
  def: OpDef,
  kind: CostKind,
  macs: number | undefined,
): number | undefined {
  if (def.category === 'control') return macs;
  if (def.macs === undefined) return convention.other(ctx, def);
  if (macs === undefined) return undefined;
  switch (kind) {
    case 'attention':
      if (def.opType === 'MatMul' || def.opType === 'Einsum') return convention.activationProducts ? macs : 0;
      return convention.fusedAttention ? macs : 0;
    case 'recurrent':
      return convention.recurrent ? macs : 0;
    case 'conv':
    case 'depthwise':
      return plus(convolution(convention, ctx, def, kind, macs), bias(convention, ctx));
    case 'linear':
      return plus(macs, def.opType === 'Gemm' ? bias(convention, ctx) : 0);
    case 'other':
      return macs;
  }
}

const AFFINE: ReadonlySet<string> = new Set([
  'LayerNormalization',
  'GroupNormalization',
  'InstanceNormalization',
  'RMSNormalization',
]);
const RESIZES: ReadonlySet<string> = new Set(['Resize', 'Upsample']);
const SOFTMAXES: ReadonlySet<string> = new Set(['Softmax', 'LogSoftmax', 'Hardmax']);

function isActivation(def: OpDef): boolean {
  return (def.category === 'activation' && !SOFTMAXES.has(def.opType)) || def.opType === 'Clip';
}

function convolution(
  convention: Convention,
  ctx: CostContext,
  def: OpDef,
  kind: CostKind,
  macs: number,
): number | undefined {
  let cost = macs;
  if (def.opType === 'ConvTranspose' && convention.transposedByOutput) {
    const weight = ctx.inputShape(1);
    const data = ctx.inputShape(0);
    const out = elements(ctx, 1);
    if (weight === undefined || data === undefined || out === undefined) return undefined;
    const group = groupsOf(ctx);
    cost = out * (data[1]! / group) * (countElements(weight.slice(2)) ?? 0);
  }
  return convention.groups || kind === 'depthwise' ? cost : cost * groupsOf(ctx);
}

function groupsOf(ctx: CostContext): number {
  const group = ctx.node.attributes.get('group');
  return group?.kind === 'int' ? group.value : 1;
}

function bias(convention: Convention, ctx: CostContext): number | undefined {
  return convention.bias && ctx.arity > 2 && ctx.node.inputs[2] !== '' ? elements(ctx, 1) : 0;
}

function elements(ctx: CostContext, factor: number): number | undefined {
  const n = countElements(ctx.outputShape(0));
  return n === undefined ? undefined : n * factor;
}

function inputElements(ctx: CostContext, factor: number): number | undefined {
  const n = countElements(ctx.inputShape(0));
  return n === undefined ? undefined : n * factor;
}

function plus(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}
