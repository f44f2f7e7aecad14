// The data of `pare groups`: what can be cut, what a unit is worth, what is frozen and why. MACs, not FLOPs.
import type { Analysis } from './analyse.js';
import type { GroupMember } from './groups.js';

export interface GroupRow {
  readonly id: string;
  /** Units that can be cut: one has to stay. */
  readonly units: number;
  /** Channels that go with one unit (a head has several, a residual stream one per layer that writes it). */
  readonly channelsPerUnit: number;
  readonly members: readonly GroupMember[];
  /** MACs of the nodes that shrink with the group, and their share of the network's. */
  readonly macs: number;
  readonly share: number;
  /** MACs that one unit takes along, and the share. */
  readonly unitMacs: number;
  readonly unitShare: number;
  readonly inexact?: string;
}

export interface FrozenRow {
  readonly reason: string;
  readonly channels: number;
  /** Tensors whose channels these are. */
  readonly names: readonly string[];
}

export interface GroupReport {
  readonly macs: number;
  readonly groups: readonly GroupRow[];
  /** "Why not": by reason, most channels first. */
  readonly frozen: readonly FrozenRow[];
  /** Share of the MACs in nodes that some exact group shrinks, and with the inexact ones. */
  readonly prunable: number;
  readonly prunableInexact: number;
  /** Operators that Pare does not know; what they touch is frozen. */
  readonly unknown: readonly string[];
}

export function groupReport(analysis: Analysis): GroupReport {
  const total = analysis.cost.macs;
  const share = (macs: number): number => (total === 0 ? 0 : macs / total);
  const groups = analysis.groups.groups
    .filter((g) => g.size > 1)
    .map((g): GroupRow => {
      const row = {
        id: g.id,
        units: g.size,
        channelsPerUnit: g.units[0]?.length ?? 0,
        members: g.members,
        macs: g.macs,
        share: share(g.macs),
        unitMacs: g.unitMacs,
        unitShare: share(g.unitMacs),
      };
      return g.inexact === undefined ? row : { ...row, inexact: g.inexact };
    });
  const frozen = new Map<string, { channels: number; names: string[] }>();
  for (const { name, channels, reason } of analysis.groups.frozen) {
    const row = frozen.get(reason);
    if (row === undefined) frozen.set(reason, { channels, names: [name] });
    else {
      row.channels += channels;
      row.names.push(name);
    }
  }
  return {
    macs: total,
    groups,
    frozen: [...frozen]
      .map(([reason, row]) => ({ reason, ...row }))
      .sort((a, b) => b.channels - a.channels || (a.reason < b.reason ? -1 : 1)),
    prunable: share(reachable(analysis, false)),
    prunableInexact: share(reachable(analysis, true)),
    unknown: analysis.shapes.unknown,
  };
}

/** MACs of nodes with an axis that some group of at least two units can shrink. */
function reachable(analysis: Analysis, inexact: boolean): number {
  const free = new Uint8Array(analysis.plan.atomCount);
  for (const g of analysis.groups.groups) {
    if (g.size < 2 || (g.inexact !== undefined && !inexact)) continue;
    for (const unit of g.units) free[analysis.plan.classOf(unit[0]!)] = 1;
  }
  let macs = 0;
  for (const s of analysis.groups.macShares) {
    if (s.lines.some((line) => line.some((id) => free[id] === 1))) macs += s.macs;
  }
  return macs;
}
