// Everything that is known of one model, computed once and shared.
import type { Model } from '../ir/graph.js';
import type { OpTable } from '../ops/op.js';
import type { Cost } from './cost.js';
import type { ChannelGroups } from './groups.js';
import type { Shapes } from './shapes.js';

export interface Analysis {
  readonly model: Model;
  readonly table: OpTable;
  /** With dynamic dims bound (batch 1 unless told otherwise). */
  readonly shapes: Shapes;
  readonly cost: Cost;
  readonly groups: ChannelGroups;
}
