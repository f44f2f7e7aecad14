// Strings. https://onnx.ai/onnx/operators/onnx__StringSplit.html, onnx__TfIdfVectorizer.html
import { attrInt, attrInts, attrString, type ValueType } from '../ir/graph.js';
import { DataType } from '../ir/tensor.js';
import type { OpDef, ShapeContext, ShapeRule } from './op.js';
import { sameShape, tensorType } from './rules.js';

const decoder = new TextDecoder();

/** The strings of a constant input. */
function constantStrings(ctx: ShapeContext, i: number): string[] | undefined {
  return ctx.constant(i)?.strings?.map((s) => decoder.decode(s));
}

/** Substrings fill a new last axis as long as the longest split; its length is data. */
const stringSplit: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const longest = splitCount(ctx);
  const parts = dims && [...dims, longest];
  return [tensorType(DataType.STRING, parts), tensorType(DataType.INT64, dims)];
};

function splitCount(ctx: ShapeContext): number | undefined {
  const strings = constantStrings(ctx, 0);
  if (strings === undefined) return undefined;
  const delimiter = attrString(ctx.node, 'delimiter');
  const most = attrInt(ctx.node, 'maxsplit');
  let longest = 0;
  for (const s of strings) {
    // no delimiter: runs of white space, none at the ends; like Python's str.split
    const text = s.trim();
    const parts = delimiter === '' ? (text === '' ? 0 : text.split(/\s+/u).length) : s.split(delimiter).length;
    longest = Math.max(longest, most === undefined ? parts : Math.min(parts, most + 1));
  }
  return longest;
}

/** Stop words are dropped, so that the length is data; the rank stays. */
const stringNormalizer: ShapeRule = (ctx) => {
  const dims = ctx.shape(0);
  const stop = ctx.node.attributes.get('stopwords');
  if (stop?.kind !== 'strings' || stop.value.length === 0) return [ctx.type(0)];
  const strings = constantStrings(ctx, 0);
  const kept = strings && Math.max(1, keptWords(ctx, strings, stop.value));
  if (dims === undefined) return [tensorType(DataType.STRING, undefined)];
  return [tensorType(DataType.STRING, dims.length === 1 ? [kept] : [1, kept])];
};

function keptWords(ctx: ShapeContext, strings: readonly string[], stop: readonly string[]): number {
  const exact = attrInt(ctx.node, 'is_case_sensitive', 0) !== 0;
  const key = (s: string) => (exact ? s : s.toLowerCase());
  const dropped = new Set(stop.map(key));
  return strings.filter((s) => !dropped.has(key(s))).length;
}

const stringConcat: ShapeRule = (ctx) => {
  const a = ctx.shape(0);
  const b = ctx.shape(1);
  if (a === undefined || b === undefined) return [tensorType(DataType.STRING, undefined)];
  const rank = Math.max(a.length, b.length);
  const shape = Array.from({ length: rank }, (_, i) => {
    const x = i < rank - a.length ? 1 : a[i - rank + a.length];
    const y = i < rank - b.length ? 1 : b[i - rank + b.length];
    if (x === 1) return y;
    return y === 1 || typeof x === 'number' ? x : y;
  });
  return [tensorType(DataType.STRING, shape)];
};

/** One column per n-gram of the pool. */
const tfIdf: ShapeRule = (ctx): (ValueType | undefined)[] => {
  const columns = attrInts(ctx.node, 'ngram_indexes');
  const width = columns && Math.max(-1, ...columns) + 1;
  const dims = ctx.shape(0);
  return [tensorType(DataType.FLOAT, dims && [...dims.slice(0, -1), width])];
};

export const textOps: readonly OpDef[] = [
  { opType: 'StringSplit', category: 'other', shape: stringSplit },
  { opType: 'StringNormalizer', category: 'other', shape: stringNormalizer },
  { opType: 'StringConcat', category: 'other', shape: stringConcat },
  { opType: 'RegexFullMatch', category: 'other', shape: sameShape(DataType.BOOL) },
  { opType: 'TfIdfVectorizer', category: 'other', shape: tfIdf },
];
