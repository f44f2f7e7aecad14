// Gradients of Gemm and MatMul. https://onnx.ai/onnx/operators/onnx__Gemm.html
import { attrFloat, attrInt } from '../ir/graph.js';
import { unbroadcast } from './gradient-rules.js';
import type { GradientContext, GradientRule } from './op.js';

/** Y = alpha A' B' + beta C. */
export const gemmGradient: GradientRule = (ctx) => {
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
export const matmulGradient: GradientRule = (ctx) => {
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
