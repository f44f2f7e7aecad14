// Drafts -> the flat arrays of a computation graph: dead nodes go, unknown sizes are filled in (methods.md §1.1, rules 8 and 9),
// weighted nodes come first.
import { attrInt, attrInts } from '../ir/graph.js';
import { UNKNOWN_FRAME, type Frame } from './channel-axis.js';
import { MAX_KERNEL, type ComputationGraph, type Extras } from './computation-graph.js';
import { inputDraft, type Draft, type DraftGraph } from './draft.js';

export function layOut(draft: DraftGraph, macs: number, extras: boolean): ComputationGraph {
  const { kept, place } = alive(draft);
  const size = kept.length;
  const number = new Int32Array(size);
  let weighted = 0;
  for (const d of kept) if (d.weighted) weighted++;
  let edges = 0;
  let unknown = false;
  for (let i = 0, heavy = 0, light = weighted; i < size; i++) {
    const d = kept[i]!;
    number[i] = d.weighted ? heavy++ : light++;
    edges += d.parents.length;
    unknown ||= isUnknown(d.input) || isUnknown(d.output);
  }
  if (unknown) fillUnknown(kept, place);

  const ops = new Uint8Array(size);
  const resolutions = new Float32Array(6 * size);
  const kernels = new Uint8Array(2 * weighted);
  const bias = new Uint8Array(weighted);
  let clamped = 0;
  for (let i = 0; i < size; i++) {
    const d = kept[i]!;
    const { input, output, k1, k2 } = d;
    const v = number[i]!;
    ops[v] = d.op;
    const at = 6 * v;
    resolutions[at] = input.h;
    resolutions[at + 1] = output.h;
    resolutions[at + 2] = input.w;
    resolutions[at + 3] = output.w;
    resolutions[at + 4] = input.c;
    resolutions[at + 5] = output.c;
    if (!d.weighted) continue;
    kernels[2 * v] = Math.min(k1, MAX_KERNEL);
    kernels[2 * v + 1] = Math.min(k2, MAX_KERNEL);
    bias[v] = d.bias ? 1 : 0;
    if (k1 > MAX_KERNEL || k2 > MAX_KERNEL) clamped++;
  }
  const sources = new Int32Array(edges);
  const targets = new Int32Array(edges);
  let e = 0;
  // weighted nodes first, then the others: targets ascend
  for (const heavy of [true, false]) {
    for (let i = 0; i < size; i++) {
      const d = kept[i]!;
      if (d.weighted !== heavy) continue;
      const start = e;
      for (const p of d.parents) {
        sources[e] = number[place[p]!]!;
        targets[e++] = number[i]!;
      }
      if (e - start > 1) sources.subarray(start, e).sort();
    }
  }
  const graph = { size, weighted, ops, resolutions, kernels, bias, sources, targets, order: number, macs, clamped };
  return extras ? { ...graph, extras: extrasOf(kept, number) } : graph;
}

/** Number of each draft in the computation graph, -1 for those that are left out; undefined where sizes have to be guessed. */
export function numbersOf(draft: DraftGraph): Int32Array | undefined {
  const { kept, place } = alive(draft);
  if (kept.some((d) => isUnknown(d.input) || isUnknown(d.output))) return undefined;
  const numbers = new Int32Array(draft.nodes.length).fill(-1);
  let heavy = 0;
  let light = kept.filter((d) => d.weighted).length;
  draft.nodes.forEach((d, i) => {
    if (place[i]! >= 0) numbers[i] = d.weighted ? heavy++ : light++;
  });
  return numbers;
}

/** What outputs need: the nodes, and the place of each draft among them. At least one Input. */
function alive(draft: DraftGraph): { readonly kept: readonly Draft[]; readonly place: Int32Array } {
  const { nodes } = draft;
  const live = new Uint8Array(nodes.length);
  for (const end of draft.ends) live[end] = 1;
  for (let i = nodes.length - 1; i >= 0; i--) if (live[i] === 1) for (const p of nodes[i]!.parents) live[p] = 1;
  const kept: Draft[] = [];
  const place = new Int32Array(nodes.length).fill(-1);
  for (let i = 0; i < nodes.length; i++) {
    if (live[i] === 0) continue;
    place[i] = kept.length;
    kept.push(nodes[i]!);
  }
  // nothing that comes in reaches an output: the network is a constant
  return { kept: kept.length === 0 ? [inputDraft(draft.input)] : kept, place };
}

/** An unknown size is the parent's output or the child's input, then the node's own other side, then 1. */
function fillUnknown(nodes: readonly Draft[], place: Int32Array): void {
  for (const d of nodes) {
    const parent = d.parents.length === 0 ? undefined : nodes[place[d.parents[0]!]!];
    d.input = filled(d.input, parent?.output ?? UNKNOWN_FRAME);
  }
  for (let i = nodes.length - 1; i >= 0; i--) {
    for (const p of nodes[i]!.parents) {
      const parent = nodes[place[p]!]!;
      parent.output = filled(parent.output, nodes[i]!.input);
    }
  }
  const one = { h: 1, w: 1, c: 1 };
  for (const d of nodes) {
    d.output = filled(filled(d.output, d.input), one);
    d.input = filled(d.input, d.output);
  }
}

function isUnknown(f: Frame): boolean {
  return f.h === 0 || f.w === 0 || f.c === 0;
}

function filled(f: Frame, by: Frame): Frame {
  if (!isUnknown(f)) return f;
  return { h: f.h === 0 ? by.h : f.h, w: f.w === 0 ? by.w : f.w, c: f.c === 0 ? by.c : f.c };
}

function extrasOf(nodes: readonly Draft[], number: Int32Array): Extras {
  const { length } = nodes;
  const extras = {
    groups: new Float32Array(length).fill(1),
    strides: new Float32Array(length).fill(1),
    macs: new Float64Array(length),
    params: new Float64Array(length),
    positions: new Float32Array(length),
  };
  nodes.forEach((d, i) => {
    const v = number[i]!;
    if (d.node !== undefined) {
      extras.groups[v] = attrInt(d.node, 'group', 1);
      extras.strides[v] = Math.max(1, ...(attrInts(d.node, 'strides') ?? []));
    }
    extras.macs[v] = d.macs;
    extras.params[v] = d.params;
    extras.positions[v] = length > 1 ? i / (length - 1) : 0;
  });
  return extras;
}
