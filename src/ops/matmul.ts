// Matrix products: Gemm, MatMul, MatMulInteger, Einsum, Det. MACs: every output element x the length of what is summed.
import { attrInt, attrString } from '../ir/graph.js';
import type { Dim } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { CostContext, CostRule, OpDef, ShapeContext, ShapeRule } from './op.js';
import { broadcastShapes, contradiction, countElements, showShape, tensorType } from './rules.js';

/** Numpy's matmul of inputs `a` and `b`; QLinearMatMul uses it too. */
export function matMulShape(ctx: ShapeContext, a = 0, b = 1): readonly Dim[] | undefined {
  return matMulDims(ctx, ctx.shape(a), ctx.shape(b));
}

/** The same for dims that are no input's own (transposed on the way in). */
export function matMulDims(
  ctx: ShapeContext,
  left: readonly Dim[] | undefined,
  right: readonly Dim[] | undefined,
): readonly Dim[] | undefined {
  if (left === undefined || right === undefined) return undefined;
  if (left.length === 0 || right.length === 0) contradiction(ctx, 'a scalar cannot be multiplied as a matrix');
  const inner = left[left.length - 1];
  const other = right.length === 1 ? right[0] : right[right.length - 2];
  if (typeof inner === 'number' && typeof other === 'number' && inner !== other) {
    contradiction(ctx, `inner lengths differ: ${showShape(left)} x ${showShape(right)}`);
  }
  const batch =
    left.length <= 2 && right.length <= 2
      ? []
      : broadcastShapes(ctx, [
          left.slice(0, Math.max(left.length - 2, 0)),
          right.slice(0, Math.max(right.length - 2, 0)),
        ]);
  if (batch === undefined) return undefined;
  const rows = left.length > 1 ? [left[left.length - 2]] : [];
  const columns = right.length > 1 ? [right[right.length - 1]] : [];
  return [...batch, ...rows, ...columns];
}

/** Output elements x inner length. */
export function matMulMacs(ctx: CostContext, a = 0): number | undefined {
  const out = countElements(ctx.outputShape(0));
  const left = ctx.inputShape(a);
  return out === undefined || left === undefined ? undefined : out * (left[left.length - 1] ?? 0);
}

const matMul: ShapeRule = (ctx) => [tensorType(ctx.elemType(0) || ctx.elemType(1), matMulShape(ctx))];
const macs: CostRule = (ctx) => matMulMacs(ctx);

const gemm: ShapeRule = (ctx) => {
  const a = ctx.shape(0);
  const b = ctx.shape(1);
  const elemType = ctx.elemType(0) || ctx.elemType(1);
  if (a === undefined && b === undefined) return [tensorType(elemType, [undefined, undefined])];
  for (const operand of [a, b]) {
    if (operand !== undefined && operand.length !== 2) {
      contradiction(ctx, `operands are matrices, but one has shape ${showShape(operand)}`);
    }
  }
  const transA = attrInt(ctx.node, 'transA', 0) !== 0 ? 1 : 0;
  const transB = attrInt(ctx.node, 'transB', 0) !== 0 ? 1 : 0;
  const inner = a?.[1 - transA];
  const other = b?.[transB];
  if (typeof inner === 'number' && typeof other === 'number' && inner !== other) {
    contradiction(ctx, `input has ${inner} features but weight wants ${other}`);
  }
  const shape = [a?.[transA], b?.[1 - transB]];
  const c = ctx.shape(2);
  const columns = shape[1];
  const last = c === undefined || c.length === 0 ? undefined : c[c.length - 1];
  if (ctx.opset >= 7 && typeof last === 'number' && typeof columns === 'number' && last !== 1 && last !== columns) {
    contradiction(ctx, `bias ${showShape(c ?? [])} does not fit ${columns} outputs`);
  }
  return [tensorType(elemType, shape)];
};

const gemmMacs: CostRule = (ctx) => {
  const out = countElements(ctx.outputShape(0));
  const a = ctx.inputShape(0);
  if (out === undefined || a === undefined) return undefined;
  return out * (a[attrInt(ctx.node, 'transA', 0) !== 0 ? 0 : 1] ?? 0);
};

interface Equation {
  readonly terms: readonly (readonly string[])[];
  readonly result: readonly string[];
  /** Length of each index, as far as known. */
  readonly lengths: ReadonlyMap<string, Dim>;
}

/**
 * Reads an Einsum equation against the operands' shapes. Letters are indices; `...` stands for indices `.0 .1 ...`,
 * counted from the right. Undefined when a rank is unknown.
 */
export function readEinsum(ctx: ShapeContext): Equation | undefined {
  const equation = attrString(ctx.node, 'equation').replaceAll(' ', '');
  const [left = '', right] = equation.split('->');
  const texts = left.split(',');
  if (texts.length !== ctx.arity) {
    contradiction(ctx, `equation "${equation}" names ${texts.length} operands, but there are ${ctx.arity}`);
  }
  const lengths = new Map<string, Dim>();
  let widest = 0;
  const terms: string[][] = [];
  for (const [i, text] of texts.entries()) {
    const shape = ctx.shape(i);
    if (shape === undefined) return undefined;
    const dots = shape.length - text.replace('...', '').length;
    if (dots < 0 || (dots > 0 && !text.includes('...'))) {
      contradiction(ctx, `equation term "${text}" does not fit operand ${showShape(shape)}`);
    }
    widest = Math.max(widest, dots);
    const term = spell(text, dots);
    term.forEach((index, k) => {
      const length = shape[k];
      const before = lengths.get(index);
      if (before === undefined || before === 1) lengths.set(index, length ?? before);
      else if (typeof before === 'number' && typeof length === 'number' && length !== 1 && length !== before) {
        contradiction(ctx, `index "${index}" of equation "${equation}" is both ${before} and ${length} long`);
      } else if (typeof before !== 'number' && typeof length === 'number' && length !== 1) lengths.set(index, length);
    });
    terms.push(term);
  }
  const result = right === undefined ? implicitResult(texts, widest) : spell(right, widest);
  return { terms, result, lengths };
}

const einsum: ShapeRule = (ctx) => {
  const equation = readEinsum(ctx);
  const elemType = ctx.elemType(0);
  if (equation === undefined) return [tensorType(elemType)];
  return [
    tensorType(
      elemType,
      equation.result.map((index) => equation.lengths.get(index)),
    ),
  ];
};

/** The product of all indices' lengths, once for each operand after the first; one operand alone multiplies nothing. */
const einsumMacs: CostRule = (ctx) => {
  if (ctx.arity < 2) return 0;
  const equation = readEinsum(ctx);
  if (equation === undefined) return undefined;
  let product = ctx.arity - 1;
  for (const length of equation.lengths.values()) {
    if (typeof length !== 'number') return undefined;
    product *= length;
  }
  return product;
};

function spell(text: string, dots: number): string[] {
  const at = text.indexOf('...');
  if (at < 0) return text.split('');
  const ellipsis = Array.from({ length: dots }, (_, k) => `.${dots - 1 - k}`);
  return [...text.slice(0, at).split(''), ...ellipsis, ...text.slice(at + 3).split('')];
}

/** Without `->`: the ellipsis, then the letters that occur once, in alphabetical order. */
function implicitResult(texts: readonly string[], widest: number): string[] {
  const letters = texts.join('').replaceAll('.', '');
  const once = letters
    .split('')
    .filter((c) => letters.indexOf(c) === letters.lastIndexOf(c))
    .toSorted();
  return [...spell(texts.some((t) => t.includes('...')) ? '...' : '', widest), ...once];
}

const det: ShapeRule = (ctx) => [tensorType(ctx.elemType(0), ctx.shape(0)?.slice(0, -2))];

export const matmulOps: readonly OpDef[] = [
  { opType: 'MatMul', category: 'contraction', shape: matMul, macs },
  {
    opType: 'MatMulInteger',
    since: 10,
    category: 'contraction',
    shape: (ctx) => [tensorType(DataType.INT32, matMulShape(ctx))],
    macs,
  },
  { opType: 'Gemm', category: 'contraction', shape: gemm, macs: gemmMacs },
  { opType: 'Einsum', since: 12, category: 'contraction', shape: einsum, macs: einsumMacs },
  { opType: 'Det', since: 11, category: 'other', shape: det },
];
