// Byte-pair merging of computation graphs: the most frequent pair "a feeds b, and only b" becomes one token, in all graphs at once,
// again and again; what tokens stand for are segments (AutoGO, methods.md §1.9). Contracting such an edge never makes a cycle.
import { nodeOf, type ComputationGraph } from '../../src/predictor/computation-graph.js';
import { planSegment, SEGMENT_OPS, type Segment, type SegmentNode, type SegmentOp } from './segment.js';

export interface MineOptions {
  /** Merges at most. */
  readonly merges: number;
  /** Nodes of a segment at most. */
  readonly largest: number;
  /** Fewest networks that a segment must occur in. */
  readonly networks: number;
}

/** Segments with one input and one output, most frequent first. Wants graphs compressed with extras. Deterministic. */
export function mineSegments(graphs: Iterable<ComputationGraph>, options: MineOptions): readonly Segment[] {
  const forest = new Forest(options.largest);
  for (const graph of graphs) forest.plant(graph);
  const found = new Map<
    string,
    { readonly segment: Omit<Segment, 'count' | 'networks'>; count: number; in: Set<number> }
  >();
  for (let i = 0; i < options.merges; i++) {
    const merged = forest.mergeMostFrequent();
    if (merged.length < 2) break;
    for (const root of merged) {
      const segment = forest.segment(root);
      if (segment === undefined) continue;
      const key = JSON.stringify(segment);
      const entry = found.get(key) ?? { segment, count: 0, in: new Set() };
      entry.count++;
      entry.in.add(forest.graphOf(root));
      found.set(key, entry);
    }
  }
  return [...found]
    .filter(([, f]) => f.in.size >= options.networks)
    .toSorted(([a, f], [b, g]) => g.count - f.count || (a < b ? -1 : 1))
    .map(([, f]) => ({ ...f.segment, count: f.count, networks: f.in.size }));
}

/** All nodes of all graphs; clusters of merged nodes are known by their last node, the root, whose output is the cluster's. */
class Forest {
  private readonly largest: number;
  private readonly tokens: number[] = [];
  private readonly graphs: ComputationGraph[] = [];
  private readonly graphIds: number[] = [];
  /** Number of the node within its graph. */
  private readonly locals: number[] = [];
  private readonly parents: (readonly number[])[] = [];
  /** Successors of each node as planted. */
  private readonly next: number[][] = [];
  /** Root of the cluster that a node belongs to (itself to begin with). */
  private readonly roots: number[] = [];
  /** Nodes of a root's cluster, ascending. */
  private readonly members: (readonly number[])[] = [];
  private readonly names = new Map<string, number>();
  /** Edges root -> root by pair of tokens; entries may be outdated. */
  private readonly edges = new Map<string, [number, number][]>();

  constructor(largest: number) {
    this.largest = largest;
  }

  graphOf(root: number): number {
    return this.graphIds[root]!;
  }

  plant(graph: ComputationGraph): void {
    const base = this.tokens.length;
    const place = new Int32Array(graph.size);
    graph.order.forEach((v, i) => (place[v] = base + i));
    const parents: number[][] = Array.from({ length: graph.size }, () => []);
    graph.targets.forEach((v, e) => parents[place[v]! - base]!.push(place[graph.sources[e]!]!));
    const id = this.graphs.push(graph) - 1;
    graph.order.forEach((v, i) => {
      const at = base + i;
      this.tokens.push(this.name(tokenOf(graph, v)));
      this.graphIds.push(id);
      this.locals.push(v);
      this.parents.push(parents[i]!);
      this.next.push([]);
      this.roots.push(at);
      this.members.push([at]);
      for (const p of parents[i]!) this.next[p]!.push(at);
    });
    for (let at = base; at < base + graph.size; at++) this.enlist(at);
  }

  /** Merges all edges of the most frequent pair; the roots of what was merged. */
  mergeMostFrequent(): readonly number[] {
    for (;;) {
      let best: string | undefined;
      let most = 1;
      for (const [pair, list] of this.edges) {
        if (list.length > most || (list.length === most && most > 1 && best !== undefined && pair < best)) {
          best = pair;
          most = list.length;
        }
      }
      if (best === undefined) return [];
      const pair = best;
      const list = this.edges.get(pair)!.filter(([u, v]) => this.valid(u, v, pair));
      if (list.length < most) {
        // some were outdated: it may not be the most frequent one any more
        if (list.length < 2) this.edges.delete(best);
        else this.edges.set(best, list);
        continue;
      }
      this.edges.delete(best);
      return this.merge(best, list);
    }
  }

  private merge(pair: string, list: readonly [number, number][]): readonly number[] {
    const token = this.name(`(${pair})`);
    const made: number[] = [];
    for (const [u, v] of list) {
      // an earlier merge of this round may have taken one of the two
      if (!this.valid(u, v, pair)) continue;
      const all = [...this.members[u]!, ...this.members[v]!].toSorted((a, b) => a - b);
      for (const m of this.members[u]!) this.roots[m] = v;
      this.members[v] = all;
      this.members[u] = [];
      this.tokens[v] = token;
      made.push(v);
    }
    for (const v of made) {
      this.enlist(v);
      for (const p of new Set(this.inputs(v).map((i) => this.roots[i]!))) this.enlist(p);
    }
    return made;
  }

  /** Notes the edge from this root to its only successor. */
  private enlist(u: number): void {
    const v = this.onlySuccessor(u);
    if (v === undefined || !this.tokenKnown(u) || !this.tokenKnown(v)) return;
    if (this.members[u]!.length + this.members[v]!.length > this.largest) return;
    const pair = `${this.tokens[u]!},${this.tokens[v]!}`;
    const list = this.edges.get(pair);
    if (list === undefined) this.edges.set(pair, [[u, v]]);
    else list.push([u, v]);
  }

  private valid(u: number, v: number, pair: string): boolean {
    return (
      this.roots[u] === u &&
      this.roots[v] === v &&
      `${this.tokens[u]!},${this.tokens[v]!}` === pair &&
      this.onlySuccessor(u) === v
    );
  }

  private onlySuccessor(u: number): number | undefined {
    let only: number | undefined;
    for (const w of this.next[u]!) {
      const root = this.roots[w]!;
      if (only !== undefined && root !== only) return undefined;
      only = root;
    }
    return only;
  }

  private tokenKnown(u: number): boolean {
    return this.tokens[u]! >= 0;
  }

  private inputs(root: number): number[] {
    const inside = new Set(this.members[root]);
    return this.members[root]!.flatMap((m) => this.parents[m]!.filter((p) => !inside.has(p)));
  }

  private name(text: string): number {
    if (text === '') return -1;
    const known = this.names.get(text);
    if (known !== undefined) return known;
    this.names.set(text, this.names.size);
    return this.names.size - 1;
  }

  /** The cluster as a segment; undefined when several values come in, it has no weight, or it would not fit its own place. */
  segment(root: number): Omit<Segment, 'count' | 'networks'> | undefined {
    const inputs = new Set(this.inputs(root));
    const [input] = inputs;
    if (inputs.size !== 1 || input === undefined) return undefined;
    const graph = this.graphs[this.graphIds[root]!]!;
    const members = this.members[root]!;
    const number = new Map(members.map((m, i) => [m, i]));
    const { resolutions } = graph;
    const source = 6 * this.locals[input]!;
    const [hin, cin] = [resolutions[source + 1]!, resolutions[source + 5]!];
    const end = 6 * this.locals[root]!;
    const [hout, cout] = [resolutions[end + 1]!, resolutions[end + 5]!];
    const stride = Math.round(hin / hout);
    if (stride < 1 || Math.ceil(hin / stride) !== hout) return undefined;
    const nodes: SegmentNode[] = [];
    for (const m of members) {
      const made = this.segmentNode(graph, m, cin, cout, (p) => number.get(p) ?? -1);
      if (made === undefined) return undefined;
      nodes.push(made);
    }
    if (!nodes.some((n) => n.op === 'Conv' || n.op === 'Depthwise')) return undefined;
    const keepsChannels = !nodes.some((n) => n.op === 'Conv' || n.op === 'Concat');
    const segment = { nodes, stride, keepsChannels };
    // what ends behind a mean, or whose rounded widths no longer meet, would fit nowhere
    return planSegment(segment, { cin, cout }) === undefined ? undefined : segment;
  }

  private segmentNode(
    graph: ComputationGraph,
    m: number,
    cin: number,
    cout: number,
    place: (parent: number) => number,
  ): SegmentNode | undefined {
    const v = this.locals[m]!;
    const { op, resolution, kernel, bias } = nodeOf(graph, v);
    const name = SEGMENT_OPS.find((known) => known === op);
    if (name === undefined) return undefined;
    const [h, h2, , , , c2] = resolution;
    const stride = name === 'Mean' ? 1 : Math.round(h! / h2!);
    // computation graphs keep no order of operands
    const from = this.parents[m]!.map(place).toSorted((a, b) => b - a);
    const groups = graph.extras!.groups[v]!;
    const pool = name === 'Maxpool' || name === 'Avgpool';
    // pools keep no window in computation graphs: the usual one for their stride
    const window: readonly [number, number] | undefined = pool ? (stride > 1 ? [stride, stride] : [3, 3]) : kernel;
    return {
      op: name,
      from,
      ...(window === undefined ? {} : { kernel: window }),
      ...(stride === 1 ? {} : { stride }),
      ...(name === 'Conv' && groups > 1 ? { groups } : {}),
      ...(name === 'Conv' ? { width: widthOf(c2!, cin, cout) } : {}),
      ...(bias === true ? { bias } : {}),
    };
  }
}

/** A node as merging sees it: operator, window, stride and, of convolutions, how the width changes in half octaves. */
function tokenOf(graph: ComputationGraph, v: number): string {
  const { op, resolution, kernel } = nodeOf(graph, v);
  if (!(SEGMENT_OPS as readonly SegmentOp[]).includes(op as SegmentOp)) return ''; // the cast: only to ask whether it is one
  const [h, h2, , , c, c2] = resolution;
  const stride = op === 'Mean' ? 0 : Math.round((8 * h!) / h2!) / 8;
  const wider = op === 'Conv' ? Math.round(2 * Math.log2(c2! / c!)) : 0;
  return `${op}${kernel === undefined ? '' : kernel.join('x')}/${stride}*${wider}g${op === 'Conv' ? graph.extras!.groups[v]! : 1}`;
}

/** Multiples are kept to an eighth of an octave: networks round their widths. */
function widthOf(c: number, cin: number, cout: number): readonly ['in' | 'out', number] {
  if (c === cout) return ['out', 1];
  if (c === cin) return ['in', 1];
  const [of, base]: ['in' | 'out', number] = cin >= cout ? ['in', cin] : ['out', cout];
  const times = 2 ** (Math.round(8 * Math.log2(c / base)) / 8);
  return [of, Number(times.toPrecision(4))];
}
