// What the main thread, the thread between and the plug-ins' process say to each other. All of it is plain data.
import type { ValueType } from '../ir/graph.js';
import type { PartialValue } from '../ops/op.js';
import type { Packed } from './pack.js';

/** One thing that foreign code is asked for. `file` numbers the plug-in files in the order given. */
export type Call =
  | { readonly op: 'load'; readonly file: number; readonly url: string }
  | ({ readonly op: 'propose' | 'places'; readonly mutation: string } & ContextData & { readonly seed: string })
  | ({ readonly op: 'apply'; readonly mutation: string; readonly params: Packed } & ContextData)
  | { readonly op: 'join'; readonly mutation: string; readonly params: Packed }
  | ({ readonly op: 'removal'; readonly mutation: string; readonly group: string } & ContextData)
  | ({
      readonly op: 'importance';
      readonly criterion: string;
      readonly group: string;
      readonly seed: string;
    } & ContextData)
  | {
      readonly op: 'rule';
      readonly operator: OperatorKey;
      readonly rule: 'shape' | 'value' | 'macs';
      readonly input: RuleInput;
    }
  | { readonly op: 'channels'; readonly operator: OperatorKey; readonly input: ChannelInput }
  | {
      readonly op: 'recount';
      readonly operator: OperatorKey;
      readonly input: ChannelInput;
      /** Which of the closures that the channel rule gave. */
      readonly index: number;
      readonly answers: readonly RecountAnswer[];
    }
  | {
      readonly op: 'predict';
      readonly file: number;
      readonly fitness: string;
      readonly seed: string;
      /** Samples of another lesson are learnt first. */
      readonly lesson: number;
      readonly samples: readonly (PackedInput & { readonly score: number })[];
      readonly candidates: readonly PackedInput[];
    }
  | {
      readonly op: 'emit';
      readonly operator: OperatorKey;
      readonly rule: 'gradient' | 'expand';
      readonly input: EmitInput;
    };

/** What a fitness sees of a candidate; the graph only where it wants it. */
export interface PackedInput {
  readonly signals: ReadonlyMap<string, number>;
  readonly graph?: Packed;
}

export interface OperatorKey {
  readonly file: number;
  /** Index in the file's list. */
  readonly index: number;
}

/** A MutationContext or ImportanceContext, from which the other side makes the analysis again. */
export interface ContextData {
  readonly file: number;
  readonly model: Packed;
  /** Dims of inputs that were given. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  /** Names that --ignore names. */
  readonly ignored: readonly string[];
  readonly roundTo: number;
  readonly maxRatio: number;
  /** Of calibration data, by group: the order of removal with its errors, and the sizes of activations. */
  readonly lessons?: ReadonlyMap<string, Lesson>;
  /** Operators that are disabled. */
  readonly without: readonly OperatorKey[];
}

export interface Lesson {
  readonly removal?: { readonly order: readonly number[]; readonly errors: readonly number[] };
  readonly activation?: Float64Array;
}

/** What shape, value and cost rules see. */
export interface RuleInput {
  readonly node: Packed;
  readonly opset: number;
  readonly types: readonly (ValueType | undefined)[];
  readonly values: readonly (PartialValue | undefined)[];
  readonly constants: readonly Packed[];
  /** Types of the outputs: for value rules. */
  readonly outputs?: readonly (ValueType | undefined)[];
  /** Concrete dims: for cost rules. */
  readonly outputShapes?: readonly (readonly number[] | undefined)[];
}

/** What channel rules see; atoms are numbered anew, 1..classes.length. */
export interface ChannelInput {
  readonly node: Packed;
  readonly opset: number;
  readonly inputShapes: readonly (readonly number[])[];
  readonly outputShapes: readonly (readonly number[])[];
  readonly values: readonly (PartialValue | undefined)[];
  readonly elemTypes: readonly number[];
  readonly constant: readonly boolean[];
  readonly labels: readonly LabelData[];
  /** Atom a + 1 -> the smallest atom of its class; 0 = it stays. */
  readonly classes: Int32Array;
  readonly inexact: Uint8Array;
}

export interface LabelData {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  readonly atoms: Int32Array;
}

/** What a channel rule did, to be done again with the real atoms; fresh atoms follow the given ones. */
export type ChannelStep =
  | readonly ['fresh', number]
  | readonly ['tie', LabelData, LabelData]
  | readonly ['tieAll', Int32Array]
  | readonly ['freeze' | 'inexact', LabelData, string]
  | readonly ['whole', LabelData, number, string]
  | readonly ['hold', LabelData, number]
  | readonly ['consume', number, LabelData, number?]
  | readonly ['cut', number, LabelData, 'out' | 'in' | 'along' | undefined]
  | readonly ['output', number, LabelData]
  | readonly ['recount'];

/** A question that a recounting closure asked; -1 is for `dims`, another number the axis of `alive`. */
export interface RecountQuestion {
  readonly labels: LabelData;
  readonly axis: number;
}
export interface RecountAnswer extends RecountQuestion {
  readonly answer: readonly number[] | readonly boolean[];
  readonly values?: readonly (PartialValue | undefined)[];
}
export type RecountReply =
  | { readonly ask: RecountQuestion | 'values' }
  | { readonly attributes: Packed; readonly inputs: readonly (readonly [number, readonly (number | undefined)[]])[] };

/** What gradient and expansion rules see. Names are given, and what is emitted is called `#0`, `#1`, ... */
export interface EmitInput extends RuleInput {
  readonly gradients: readonly (string | undefined)[];
  readonly needed: readonly boolean[];
}
export type EmitStep =
  | {
      readonly emit: string;
      readonly inputs: readonly string[];
      readonly outputs: number;
      readonly attributes: Readonly<Record<string, unknown>> | undefined;
    }
  | { readonly float: number | readonly number[]; readonly dims: readonly number[] | undefined }
  | { readonly ints: readonly number[]; readonly dims: readonly number[] | undefined }
  | { readonly output: number };
export interface EmitReply {
  readonly steps: readonly EmitStep[];
  readonly results: readonly (string | undefined)[];
}

/** To the process, and back. */
export interface ChildRequest {
  readonly id: number;
  readonly call: Call;
}
export interface ChildReply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly message: string; readonly sentence: boolean };
}

/** To the thread between. */
export type BridgeRequest =
  | {
      readonly kind: 'call';
      readonly call: Call;
      /** The process this was made for; another one would not know what the graph refers to. */
      readonly generation: number;
      readonly deadlineMs: number;
      readonly maxBytes: number;
    }
  | { readonly kind: 'start'; readonly maxBytes: number }
  | { readonly kind: 'try'; readonly trial: Trial; readonly deadlineMs: number; readonly maxBytes: number }
  | { readonly kind: 'close' };

/** A run of a changed network beside the network it was made from. */
export interface Trial {
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** How far outputs may differ, relative to their norm; undefined = as far as they like. */
  readonly tolerance: number | undefined;
  readonly dims: ReadonlyMap<string, readonly number[]>;
}

export type BridgeReply =
  | { readonly value: unknown }
  | { readonly error: { readonly message: string; readonly sentence: boolean }; readonly printed: string }
  /** The process is another one than the request was made for, or there is none. */
  | { readonly gone: true }
  /** The process was stopped or ended by itself. */
  | { readonly ended: string; readonly printed: string };
