// An architecture space: how the rows of its tables name networks, and how such a name becomes a network.
import type { Model } from '../../ir/graph.js';
import type { Rng } from '../../rng.js';
import type { Row } from '../tables.js';

export interface BuildOptions {
  /** One of the space's tasks: decides head, classes and input; the first one unless given. */
  readonly task?: string;
  /** [C, H, W] instead of the task's. */
  readonly inputShape?: readonly [number, number, number];
  /** Outputs of the head instead of the task's. */
  readonly classes?: number;
  /** Draws the weights (He, by the tensors' names); without it weights are placeholders: shapes, no data. */
  readonly weights?: Rng;
}

/** A cell with operators on its six edges 0-1, 0-2, 0-3, 1-2, 1-3, 2-3: the operators as numbers below `kinds`. */
export interface CellCode {
  readonly ops: readonly number[];
  readonly kinds: number;
}

/** One network of a space. */
export interface Architecture {
  /** The encoding in the form that the space's tables use. */
  readonly key: string;
  /** Equal for networks that compute the same family of functions (isomorphic cells): splits keep them together. */
  readonly twins: string;
  /** In spaces of one small cell, the cell. */
  readonly cell?: CellCode;
  /** The network: input `input` [N, C, H, W], output `output`. As the original defines it, operators without effect included. */
  readonly build: (options?: BuildOptions) => Model;
}

export interface ArchitectureSpace {
  /** `--space NAME`. */
  readonly name: string;
  /** Columns that may hold the encoding; the first that a table has is read. */
  readonly keys: readonly string[];
  /** Tasks whose heads the space knows, the usual one first. */
  readonly tasks: readonly string[];
  /** The architecture of a row. Throws PareError on an encoding that the space does not have. */
  parse(row: Row): Architecture;
  /** The task that a label's column is about; the first task for columns that name none. */
  taskOf(label: string): string;
}
