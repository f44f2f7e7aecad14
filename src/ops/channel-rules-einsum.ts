// Channel rule of Einsum with one or two operands, letter by letter: as MatMul's, without an order of axes.
import { attrString } from '../ir/graph.js';
import { merge, type Operand } from './channel-rules.js';
import { insertAxis, noLabels, reshape, slice, transpose } from './labels.js';
import type { ChannelContext, ChannelRule, Labels } from './op.js';

interface Term {
  readonly i: number;
  readonly letters: readonly string[];
  labels: Labels;
}

export const einsum: ChannelRule = (c) => {
  const equation = attrString(c.node, 'equation').replaceAll(' ', '');
  const [left, right] = equation.split('->');
  const shape = c.outputShape(0);
  const terms = (left ?? '').split(',').map((text, i): Term => {
    const labels = c.labels(i);
    return { i, labels, letters: lettersOf(text, labels.shape.length) };
  });
  const output = right === undefined ? implied(terms) : lettersOf(right, shape.length);
  const plain = terms.length <= 2 && terms.every((t) => new Set(t.letters).size === t.letters.length);
  const active = terms.filter((t) => !c.isConstant(t.i));
  if (!plain || output.length !== shape.length) {
    for (const t of active) c.freeze(t.labels, 'Einsum of an unusual form');
    return;
  }
  const place = (t: Term): Operand => ({
    labels: aligned(t.labels, t.letters, output, shape),
    full: output.map((letter, k) => t.letters.includes(letter) || shape[k] === 1),
  });
  const weight = terms.find((t) => c.isConstant(t.i));
  const x = active[0];
  if (x === undefined) return;
  const sums = (t: Term): number[] => t.letters.flatMap((letter, k) => (output.includes(letter) ? [] : [k]));

  for (const k of sums(x)) reduceLetter(c, x, k, terms);
  const y = active[1];
  if (y !== undefined) for (const k of sums(y)) reduceLetter(c, y, k, terms);
  if (weight === undefined) {
    c.output(0, merge(c, active.map(place)));
    return;
  }
  const passed = place(x).labels;
  if (!c.unlabelled(passed)) {
    c.cut(weight.i, aligned(x.labels, x.letters, weight.letters, c.inputShape(weight.i)), 'along');
    c.output(0, passed);
    return;
  }
  // the weight's own letters make new channels: one per combination
  const own = weight.letters.filter((letter) => output.includes(letter) && !x.letters.includes(letter));
  if (own.length === 0) return;
  const dims = own.map((letter) => c.inputShape(weight.i)[weight.letters.indexOf(letter)]!);
  const count = dims.reduce((a, b) => a * b, 1);
  const made = reshape(c.spread(c.fresh(count), 0, [count]), dims);
  c.cut(weight.i, aligned(made, own, weight.letters, c.inputShape(weight.i)), 'out');
  c.output(0, aligned(made, own, output, shape));
};

/** Sums one operand over its axis k: consumed together with the operand that has the letter too. */
function reduceLetter(c: ChannelContext, t: Term, k: number, terms: readonly Term[]): void {
  const letter = t.letters[k]!;
  const other = terms.find((o) => o !== t && o.letters.includes(letter));
  const at = other?.letters.indexOf(letter) ?? -1;
  const constant = other !== undefined && c.isConstant(other.i);
  if (!c.varies(t.labels, k) && (other === undefined || constant || !c.varies(other.labels, at))) return;
  const alone = (l: Labels, axis: number): boolean => l.shape.every((_, j) => j === axis || !c.varies(l, j));
  if (!alone(t.labels, k)) t.labels = c.whole(t.labels, k, 'channels along two axes');
  if (other !== undefined && !constant && !alone(other.labels, at)) {
    other.labels = c.whole(other.labels, at, 'channels along two axes');
  }
  if (!c.varies(t.labels, k)) {
    if (other !== undefined && !constant)
      other.labels = c.whole(other.labels, at, 'summed with a value without these channels');
    return;
  }
  const atoms = c.along(t.labels, k);
  if (other !== undefined && !constant) {
    if (!c.varies(other.labels, at)) {
      t.labels = c.whole(t.labels, k, 'summed with a value without these channels');
      return;
    }
    c.tie(c.spread(atoms, 0, [atoms.length]), c.spread(c.along(other.labels, at), 0, [atoms.length]));
    c.consume(other.i, c.labels(other.i));
    other.labels = noLabels(other.labels.shape);
  }
  c.consume(t.i, c.labels(t.i));
  if (other !== undefined && constant) c.cut(other.i, c.spread(atoms, at, c.inputShape(other.i)), 'in');
  t.labels = noLabels(t.labels.shape);
}

/** The view with its axes in the order of `target`; letters it lacks get an axis along which nothing changes. */
function aligned(
  labels: Labels,
  letters: readonly string[],
  target: readonly string[],
  shape: readonly number[],
): Labels {
  let l = labels;
  let own = [...letters];
  // letters that are gone
  for (let k = own.length - 1; k >= 0; k--) {
    if (target.includes(own[k]!)) continue;
    l = slice(l, k, 0, 1, 1);
    l = { ...l, shape: l.shape.toSpliced(k, 1), strides: l.strides.toSpliced(k, 1) };
    own = own.toSpliced(k, 1);
  }
  l = transpose(
    l,
    target.filter((t) => own.includes(t)).map((t) => own.indexOf(t)),
  );
  target.forEach((t, k) => {
    if (!own.includes(t)) l = insertAxis(l, k, shape[k]);
  });
  return l;
}

/** `...` becomes the letters 0, 1, ... counted from the right, so that operands of different rank align. */
function lettersOf(text: string, rank: number): string[] {
  const [before, after] = text.split('...');
  if (after === undefined) return Array.from(text);
  const extra = rank - (before ?? '').length - after.length;
  const inner = Array.from({ length: Math.max(0, extra) }, (_, k) => String(extra - 1 - k));
  return [...Array.from(before ?? ''), ...inner, ...Array.from(after)];
}

/** Without `->`: letters that occur once, in alphabetical order. */
function implied(terms: readonly Term[]): string[] {
  const all = terms.flatMap((t) => t.letters);
  return [...new Set(all)].filter((l) => all.filter((m) => m === l).length === 1).sort();
}
