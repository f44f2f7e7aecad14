// Channel groups: what can be cut together, found by labels (design.md, decision 2). Filled by analysis/channels.ts.
import type { Labels } from '../ops/op.js';

/** One constant that loses positions along one axis when units of the group die. */
export interface GroupMember {
  readonly tensor: string;
  readonly axis: number;
  /** Consumers of the tensor (node names or first outputs), for people. */
  readonly nodes: readonly string[];
  /** 'out': produces the channels (Conv weight axis 0); 'in': consumes them; 'along': bias, BatchNormalization, depthwise. */
  readonly role: 'out' | 'in' | 'along';
}

/** Units live and die whole; all units of a group lie on the same axes. */
export interface ChannelGroup {
  /** Stable under unrelated edits: name of the first producing tensor and axis, `layer1.0.conv1.weight:0`. */
  readonly id: string;
  /** Number of units; at least one of them has to stay. */
  readonly size: number;
  /** Atoms of unit u (a head is one unit of many atoms). */
  readonly units: readonly (readonly number[])[];
  readonly members: readonly GroupMember[];
  /** MACs of the nodes that shrink with the group, and the MACs that one unit takes along when it dies (others alive). */
  readonly macs: number;
  readonly unitMacs: number;
  /** Sets of units (other than all of them) of which one must stay: they fill an axis of some value by themselves. */
  readonly atLeastOne: readonly (readonly number[])[];
  /** Why cutting it is not exact (LayerNormalization over channels ...); such groups are only cut when asked. */
  readonly inexact?: string;
}

export interface Frozen {
  /** Where: the producing tensor or value. */
  readonly name: string;
  readonly channels: number;
  readonly reason: string;
}

/** MACs of a node (or of one weight of it) and the lines of classes they are proportional to: MACs x product of the shares alive. */
export interface MacShare {
  /** Index of the node. */
  readonly node: number;
  /** As part of the whole network's; inside an If this is the node's share of the dearer branch's; in a loop, that of all iterations. */
  readonly macs: number;
  readonly lines: readonly Int32Array[];
  /** Body that the node lies in, and its MACs in one run of that. */
  readonly inside?: { readonly body: number; readonly macs: number };
}

/** How the MACs of a body count in those around it. */
export interface MacBody {
  /** -1 = the main graph. */
  readonly parent: number;
  /** First of the bodies of the same node: of those the dearest counts. */
  readonly first: number;
  /** False for a branch that is known not to run with the dims at hand. */
  readonly runs: boolean;
  /** How often it runs when its node does: 1 for a branch. */
  readonly times: number;
}

export interface ChannelGroups {
  readonly groups: readonly ChannelGroup[];
  readonly frozen: readonly Frozen[];
  /** Labels of each labelled value of the graph, after ties were resolved (atom -> representative). */
  readonly labels: ReadonlyMap<string, Labels>;
  readonly find: (atom: number) => number;
  /** For counting a cut without making it. */
  readonly macShares: readonly MacShare[];
  /** Bodies laid open, outer ones first. */
  readonly macBodies: readonly MacBody[];
}

/** Which units of which groups die: group id -> unit indices, ascending. Plain data. */
export type DeadUnits = ReadonlyMap<string, readonly number[]>;
