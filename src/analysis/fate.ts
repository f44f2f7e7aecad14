// Which classes die, and what is left of each line: shared by cutting, masking and recounting.
import { PareError } from '../errors.js';
import type { Labels, RecountContext } from '../ops/op.js';
import type { Analysis } from './analyse.js';
import type { DeadUnits } from './groups.js';
import type { Line } from './plan.js';
import { smallValue } from './small-values.js';

export interface Fate {
  /** 1 = the class dies. */
  readonly dead: Uint8Array;
  /** Positions of the line that stay; undefined = all. */
  keep(line: Line): Int32Array | undefined;
  dims(labels: Labels): number[];
  alive(labels: Labels, axis: number): boolean[];
}

export function decideFate(analysis: Analysis, dead: DeadUnits): Fate {
  const { plan, groups } = analysis;
  const byId = new Map(groups.groups.map((g) => [g.id, g]));
  const marks = new Uint8Array(plan.atomCount);
  for (const [id, units] of dead) {
    const group = byId.get(id);
    if (group === undefined) {
      throw new PareError(`"${id}" is not a channel group of this network: \`pare groups\` lists them`);
    }
    for (const u of units) {
      const unit = group.units[u];
      if (unit === undefined) {
        throw new PareError(`group "${id}" has ${group.size} units: there is no unit ${u}`);
      }
      marks[plan.classOf(unit[0]!)] = 1;
    }
  }
  const kept = new Map<Line, Int32Array | null>();
  const keep = (line: Line): Int32Array | undefined => {
    const known = kept.get(line);
    if (known !== undefined) return known ?? undefined;
    let n = 0;
    for (const id of line) if (marks[id] === 0) n++;
    let result: Int32Array | undefined;
    if (n < line.length) {
      result = new Int32Array(n);
      for (let i = 0, w = 0; i < line.length; i++) if (marks[line[i]!] === 0) result[w++] = i;
    }
    kept.set(line, result ?? null);
    return result;
  };
  return {
    dead: marks,
    keep,
    dims(labels) {
      const placed = plan.resolve(labels);
      if (placed === undefined) return [...labels.shape];
      const left = keep(placed.line)?.length ?? placed.line.length;
      return labels.shape.map((d, k) => (k === placed.axis ? left : d));
    },
    alive(labels, axis) {
      const placed = plan.resolve(labels);
      if (placed?.axis !== axis) return Array.from({ length: labels.shape[axis]! }, () => true);
      return Array.from(placed.line, (id) => marks[id] === 0);
    },
  };
}

/** What recounting rules see of one node. */
export function recountContext(analysis: Analysis, fate: Fate, node: number): RecountContext {
  const { graph } = analysis;
  const inputs = graph.nodes[node]!.inputs;
  return {
    dims: (labels) => fate.dims(labels),
    alive: (labels, axis) => fate.alive(labels, axis),
    value: (i) => smallValue(graph, analysis.openShapes, inputs[i] ?? ''),
  };
}
