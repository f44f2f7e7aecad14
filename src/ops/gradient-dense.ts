// Gradients of Gemm, MatMul and Einsum. https://onnx.ai/onnx/operators/onnx__Gemm.html
import { attrFloat, attrInt } from '../ir/graph.js';
import { formulas, indices, unbroadcast } from './gradient-rules.js';
import { readEinsum } from './matmul.js';
import type { GradientContext, GradientRule } from './op.js';
import { contradiction } from './rules.js';

/** Y = alpha A' B' + beta C. */
const gemmGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const [tA, tB] = [attrInt(ctx.node, 'transA', 0), attrInt(ctx.node, 'transB', 0)];
  const alpha = { float: attrFloat(ctx.node, 'alpha', 1) };
  const beta = attrFloat(ctx.node, 'beta', 1);
  const [a, b] = [ctx.input(0), ctx.input(1)];
  const left = (): string =>
    tA === 0
      ? ctx.emit('Gemm', [g, b], { transB: 1 - tB, alpha })
      : ctx.emit('Gemm', [b, g], { transA: tB, transB: 1, alpha });
  const right = (): string =>
    tB === 0
      ? ctx.emit('Gemm', [a, g], { transA: 1 - tA, alpha })
      : ctx.emit('Gemm', [g, a], { transA: 1, transB: tA, alpha });
  const bias = (): string => {
    const sum = unbroadcast(ctx, g, ctx.outputShape(0), ctx.inputShape(2));
    return beta === 1 ? sum : ctx.emit('Mul', [sum, ctx.float(beta)]);
  };
  return [
    ctx.needed(0) ? left() : undefined,
    ctx.needed(1) ? right() : undefined,
    ctx.arity > 2 && ctx.needed(2) ? bias() : undefined,
  ];
};

/** Any ranks, with broadcast batch axes; vectors count as matrices with one row or column. */
const matmulGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  if (g === undefined) return [];
  const [a, b] = [ctx.inputShape(0), ctx.inputShape(1)];
  const asMatrix = (name: string, shape: readonly number[], from: readonly number[]): string =>
    shape === from ? name : ctx.emit('Reshape', [name, ctx.ints(shape)]);
  const a2 = a.length === 1 ? [1, a[0]!] : a;
  const b2 = b.length === 1 ? [b[0]!, 1] : b;
  const rows = a2[a2.length - 2]!;
  const columns = b2[b2.length - 1]!;
  const out = ctx.outputShape(0);
  const batch = out.slice(0, out.length - (a.length === 1 ? 0 : 1) - (b.length === 1 ? 0 : 1));
  const full = [...batch, rows, columns];
  const g2 = full.length === out.length ? g : ctx.emit('Reshape', [g, ctx.ints(full)]);
  const inner = a2[a2.length - 1]!;
  const back = (
    product: string,
    shape: readonly number[],
    matrix: readonly number[],
    original: readonly number[],
  ): string => {
    const sum = unbroadcast(ctx, product, shape, matrix);
    return matrix === original ? sum : ctx.emit('Reshape', [sum, ctx.ints(original)]);
  };
  return [
    ctx.needed(0)
      ? back(
          ctx.emit('MatMul', [g2, swapLast(ctx, asMatrix(ctx.input(1), b2, b), b2.length)]),
          [...batch, rows, inner],
          a2,
          a,
        )
      : undefined,
    ctx.needed(1)
      ? back(
          ctx.emit('MatMul', [swapLast(ctx, asMatrix(ctx.input(0), a2, a), a2.length), g2]),
          [...batch, inner, columns],
          b2,
          b,
        )
      : undefined,
  ];
};

function swapLast(ctx: GradientContext, name: string, rank: number): string {
  const perm = Array.from({ length: rank }, (_, k) => k);
  [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
  return ctx.emit('Transpose', [name], { perm });
}

/**
 * Each operand's gradient is again a product, of the gradient and the other operands, summed over what the operand lacks.
 * Indices that only the operand has are spread; those of length 1 that others stretch are summed.
 */
const einsumGradient: GradientRule = (ctx) => {
  const g = ctx.gradient(0);
  const equation = readEinsum(ctx);
  if (g === undefined || equation === undefined) return [];
  const m = formulas(ctx);
  const letters = new Map<string, string>();
  const alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  const spelled = (term: readonly string[]): string =>
    term
      .map((index) => {
        const letter = letters.get(index) ?? alphabet[letters.size]!;
        letters.set(index, letter);
        return letter;
      })
      .join('');
  const lengthOf = (index: string): number => Number(equation.lengths.get(index));
  return indices(ctx.arity).map((i) => {
    if (!ctx.needed(i)) return undefined;
    const term = equation.terms[i]!;
    if (new Set(term).size < term.length) {
      contradiction(ctx, 'there is no gradient for an index that one operand has twice (a diagonal)');
    }
    const others = equation.terms.flatMap((t, k) => (k === i ? [] : [{ term: t, name: ctx.input(k) }]));
    const around = new Set([...equation.result, ...others.flatMap((o) => o.term)]);
    const found = term.filter((index) => around.has(index));
    const text = [equation.result, ...others.map((o) => o.term)].map(spelled).join(',');
    const product = ctx.emit('Einsum', [g, ...others.map((o) => o.name)], {
      equation: `${text}->${spelled(found)}`,
    });
    // lengths of what came out, with 1 for what only this operand has
    const wide = term.map((index) => (around.has(index) ? lengthOf(index) : 1));
    const shaped = m.reshape(product, wide);
    const shape = ctx.inputShape(i);
    const stretched = term.flatMap((_, k) => (shape[k] === 1 && wide[k] !== 1 ? [k] : []));
    const summed = m.sum(shaped, stretched);
    return term.every((index) => around.has(index)) ? summed : ctx.emit('Expand', [summed, ctx.ints(shape)]);
  });
};

export const denseGradients: readonly (readonly [string, GradientRule])[] = [
  ['Gemm', gemmGradient],
  ['MatMul', matmulGradient],
  ['Einsum', einsumGradient],
];
