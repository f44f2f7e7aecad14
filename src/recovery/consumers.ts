// Which columns of a layer's weights belong to which unit of which channel group: the layer as a consumer of groups.
import type { ChannelGroups } from '../analysis/groups.js';
import type { Labels } from '../ops/op.js';
import { channelAxis } from './targets.js';
import type { Layer } from './layers.js';

export interface Consumer {
  readonly layer: Layer;
  /** For each input channel (all groups of a grouped Conv) the group that it belongs to, -1 for none, and the unit there. */
  readonly group: Int32Array;
  readonly unit: Int32Array;
}

/** Atom (representative) -> group and unit. */
export function unitsOf(
  groups: ChannelGroups,
): (atom: number) => { readonly group: number; readonly unit: number } | undefined {
  const byAtom = new Map<number, { readonly group: number; readonly unit: number }>();
  groups.groups.forEach((g, group) =>
    g.units.forEach((atoms, unit) => {
      for (const atom of atoms) byAtom.set(groups.find(atom), { group, unit });
    }),
  );
  return (atom) => (atom === 0 ? undefined : byAtom.get(groups.find(atom)));
}

/** The layers that sum over channels of some group. Depthwise Convs pass channels on: they consume none. */
export function findConsumers(groups: ChannelGroups, layers: readonly Layer[]): Consumer[] {
  const place = unitsOf(groups);
  const consumers: Consumer[] = [];
  for (const layer of layers) {
    const labels = groups.labels.get(layer.input);
    if (labels === undefined || passesOn(layer)) continue;
    const axis = channelAxis(layer, labels.shape.length);
    const channels = (layer.columns / layer.taps) * layer.group;
    if (labels.shape[axis] !== channels || !onlyAlong(labels, axis)) continue;
    const group = new Int32Array(channels).fill(-1);
    const unit = new Int32Array(channels).fill(-1);
    let any = false;
    for (let c = 0; c < channels; c++) {
      const at = place(labels.atoms[labels.offset + c * labels.strides[axis]!] ?? 0);
      if (at === undefined) continue;
      group[c] = at.group;
      unit[c] = at.unit;
      any = true;
    }
    if (any) consumers.push({ layer, group, unit });
  }
  return consumers;
}

function passesOn(layer: Layer): boolean {
  return layer.group > 1 && layer.columns === layer.taps;
}

function onlyAlong(labels: Labels, axis: number): boolean {
  return labels.strides.every((s, i) => i === axis || s === 0 || labels.shape[i] === 1);
}
