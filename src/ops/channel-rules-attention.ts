// Channel rules of attention as one operator: a head is one unit; heads of queries that share keys go together.
// https://onnx.ai/onnx/operators/onnx__Attention.html, onnxruntime's ContribOperators.md
import { attrInt, attrInts, intAttribute, intsAttribute, type Attribute } from '../ir/graph.js';
import { reshape } from './labels.js';
import type { ChannelContext, ChannelRule, Labels } from './op.js';

/** Operands Q, K, V, [B, heads, S, size] or [B, S, heads x size]. */
interface Layout {
  readonly queryHeads: number;
  readonly keyHeads: number;
  /** Per-head scores added to the product, or a mask: [.., heads or 1, .., ..]. */
  readonly bias: number;
  /** Vector added to Q, K and V one after the other. */
  readonly packed?: number;
  /** Attributes that hold the head counts. */
  readonly counts: (queryHeads: number, keyHeads: number) => Readonly<Record<string, Attribute>>;
}

function attention(layoutOf: (c: ChannelContext) => Layout | undefined, pasts: readonly number[]): ChannelRule {
  return (c) => {
    const layout = layoutOf(c);
    const operands = [0, 1, 2].map((i) => c.labels(i));
    const strange = c.node.outputs.slice(1).some((o) => o !== '') || pasts.some((i) => c.present(i));
    if (layout === undefined || strange) {
      for (let i = 0; i < c.arity; i++) if (c.present(i)) c.freeze(c.labels(i), `${c.node.opType} of an unusual form`);
      return;
    }
    const { queryHeads, keyHeads } = layout;
    const shared = queryHeads / keyHeads;
    const flat = operands[0]!.shape.length === 3;
    const headsOf = (l: Labels, heads: number): Int32Array => {
      let apart = flat ? reshape(l, [l.shape[0]!, l.shape[1]!, heads, l.shape[2]! / heads]) : l;
      const axis = flat ? 2 : 1;
      for (let k = 0; k < 4; k++) if (k !== axis) apart = c.whole(apart, k, `${c.node.opType} sums over a head`);
      return c.along(apart, axis);
    };
    const query = headsOf(operands[0]!, queryHeads);
    const key = headsOf(operands[1]!, keyHeads);
    const value = headsOf(operands[2]!, keyHeads);
    for (let h = 0; h < queryHeads; h++) {
      const k = Math.floor(h / shared);
      c.tieAll([query[h]!, key[k]!, value[k]!]);
    }
    const line = c.spread(query, 0, [queryHeads]);
    const keyLine = c.spread(key, 0, [keyHeads]);
    if (c.present(layout.bias)) {
      const shape = c.inputShape(layout.bias);
      const at = shape.length - 3;
      if (at >= 0 && shape[at]! > 1) c.cut(layout.bias, c.spread(query, at, shape), 'along');
    }
    const out = c.outputShape(0);
    const size = out[flat ? 2 : 3]! / (flat ? queryHeads : 1);
    const repeated = (atoms: Int32Array, times: number): Int32Array =>
      Int32Array.from({ length: atoms.length * times }, (_, i) => atoms[Math.floor(i / times)]!);
    c.output(0, flat ? c.spread(repeated(query, size), 2, out) : c.spread(query, 1, out));
    if (layout.packed !== undefined && c.present(layout.packed)) {
      const parts = [query, key, value].map((atoms, i) => repeated(atoms, c.inputShape(i)[2]! / atoms.length));
      const all = Int32Array.from(parts.flatMap((p) => Array.from(p)));
      c.cut(layout.packed, c.spread(all, 0, [all.length]), 'along');
    }
    if (flat) c.recount((r) => ({ attributes: layout.counts(r.dims(line)[0]!, r.dims(keyLine)[0]!) }));
  };
}

/** ai.onnx Attention, opset 23 and later. */
export const standardAttention: ChannelRule = attention(
  (c) => {
    const flat = c.inputShape(0).length === 3;
    const queryHeads = flat ? attrInt(c.node, 'q_num_heads') : c.inputShape(0)[1];
    const keyHeads = flat ? attrInt(c.node, 'kv_num_heads') : c.inputShape(1)[1];
    if (queryHeads === undefined || keyHeads === undefined) return undefined;
    const counts = (q: number, kv: number): Record<string, Attribute> => ({
      q_num_heads: intAttribute('q_num_heads', q),
      kv_num_heads: intAttribute('kv_num_heads', kv),
    });
    return { queryHeads, keyHeads, bias: 3, counts };
  },
  [4, 5],
);

/** com.microsoft MultiHeadAttention with Q, K and V apart. */
export const multiHeadAttention: ChannelRule = attention(
  (c) => {
    const heads = attrInt(c.node, 'num_heads');
    const apart = [0, 1, 2].every((i) => c.present(i) && c.inputShape(i).length === 3);
    if (heads === undefined || !apart) return undefined;
    const counts = (q: number): Record<string, Attribute> => ({ num_heads: intAttribute('num_heads', q) });
    return { queryHeads: heads, keyHeads: heads, bias: 5, packed: 3, counts };
  },
  [6, 7],
);

/** com.microsoft Attention: input [B, S, C] times weight [C, q + k + v], heads of all three are one unit. */
export const packedAttention: ChannelRule = (c) => {
  const heads = attrInt(c.node, 'num_heads', 1);
  const weight = c.inputShape(1);
  const sizes = attrInts(c.node, 'qkv_hidden_sizes') ?? [0, 1, 2].map(() => weight[1]! / 3);
  const strange = c.present(4) || c.node.outputs.slice(1).some((o) => o !== '');
  let x = c.labels(0);
  if (strange || sizes.some((s) => s % heads !== 0)) {
    c.freeze(x, 'Attention of an unusual form');
    return;
  }
  for (let k = 0; k < 2; k++) x = c.whole(x, k, 'channels along the sequence');
  c.consume(0, x);
  c.cut(1, c.spread(c.along(x, 2), 0, weight), 'in');
  const atoms = c.fresh(heads);
  const part = (size: number): number[] =>
    Array.from({ length: size }, (_, i) => atoms[Math.floor((i * heads) / size)]!);
  const all = Int32Array.from(sizes.flatMap(part));
  c.cut(1, c.spread(all, 1, weight), 'out');
  c.cut(2, c.spread(all, 0, [all.length]), 'along');
  if (c.present(5) && (c.inputShape(5)[1] ?? 1) > 1) c.cut(5, c.spread(atoms, 1, c.inputShape(5)), 'along');
  c.output(0, c.spread(Int32Array.from(part(sizes[2]!)), 2, c.outputShape(0)));
  const line = c.spread(atoms, 0, [heads]);
  const given = attrInts(c.node, 'qkv_hidden_sizes') !== undefined;
  c.recount((r) => {
    const left = r.dims(line)[0]!;
    const counted = { num_heads: intAttribute('num_heads', left) };
    if (!given) return { attributes: counted };
    const now = sizes.map((s) => (s / heads) * left);
    return { attributes: { ...counted, qkv_hidden_sizes: intsAttribute('qkv_hidden_sizes', now) } };
  });
};
