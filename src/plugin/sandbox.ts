// Asks foreign code in its own process, and keeps the books: what has misbehaved is disabled, reported in one sentence and saved as a
// case that can be looked at; everything else goes on.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { encodeModel } from '../onnx/write.js';
import { openBridge } from './bridge.js';
import { createSender, type Sender } from './pack.js';
import type { BridgeReply, Call, OperatorKey, Trial } from './protocol.js';
import type { TrialResult } from './trial.js';

export interface SandboxOptions {
  /** Told once for each part that is disabled. */
  readonly report: (sentence: string) => void;
  /** For one call, ms (10,000). */
  readonly deadlineMs?: number;
  /** What plug-ins may hold beside the process itself (1 GiB). */
  readonly maxBytes?: number;
}

/** A thing of a plug-in that is disabled as a whole. */
export interface Part {
  /** `mutation "drop-relu"`. */
  readonly name: string;
  readonly file: PluginFile;
  /** Set for operators. */
  readonly operator?: OperatorKey;
}

export interface PluginFile {
  readonly path: string;
  readonly url: string;
  readonly index: number;
  readonly sha256: string;
}

export interface Failure {
  readonly part: string;
  readonly plugin: string;
  readonly call: string;
  readonly why: string;
}

export interface Sandbox {
  readonly sender: Sender;
  readonly failures: readonly Failure[];
  /** Operators that the process should do without. */
  readonly without: readonly OperatorKey[];
  isDisabled(part: Part): boolean;
  /** Loads a file; what `load` gave, or undefined when it misbehaved. */
  load(file: PluginFile): unknown;
  /**
   * What the part answers. `make` is called again where the process is another one. Throws PareError for a sentence of the plug-in's
   * own and `Disabled` where it misbehaves.
   */
  ask(part: Part, make: () => Call, input: CaseInput): unknown;
  /** Disables the part. */
  fail(part: Part, why: string, input: CaseInput, printed?: string): Disabled;
  /** Throws PareError where the trial does not go well. */
  tryOut(trial: Trial): TrialResult;
  /** From now on, cases are saved below this folder. */
  saveCasesIn(folder: string): void;
  close(): void;
}

/** What a part was asked, for the case: plain data, and the graph it was asked about. */
export interface CaseInput {
  readonly call: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly model?: Model;
}

/** The part has been disabled: callers go on as if it were not there. */
export class Disabled extends PareError {}

const LOAD_MS = 20_000;

export function openSandbox(options: SandboxOptions): Sandbox {
  const { report, deadlineMs = 10_000, maxBytes = 2 ** 30 } = options;
  const bridge = openBridge();
  const sender = createSender();
  const files: PluginFile[] = [];
  const failures: Failure[] = [];
  const disabled = new Map<string, string>();
  const without: OperatorKey[] = [];
  const unsaved: (() => void)[] = [];
  let generation = 0;
  let folder: string | undefined;
  let cases = 0;

  const keyOf = (part: Part): string => `${part.file.index}:${part.name}`;

  const fail = (part: Part, why: string, input: CaseInput, printed = ''): Disabled => {
    const known = disabled.get(keyOf(part));
    if (known !== undefined) return new Disabled(known);
    const number = ++cases;
    const where = `plugin-cases/${String(number).padStart(2, '0')}-${part.name.replace(/[^A-Za-z0-9]+/g, '-').replace(/^-|-$/g, '')}`;
    const sentence = `plug-in ${part.name} of ${part.file.path} is disabled: ${input.call} ${why}`;
    disabled.set(keyOf(part), sentence);
    if (part.operator !== undefined) without.push(part.operator);
    failures.push({ part: part.name, plugin: part.file.path, call: input.call, why });
    const save = (): void => {
      const path = join(folder!, where);
      mkdirSync(path, { recursive: true });
      if (input.model !== undefined) writeFileSync(join(path, 'model.onnx'), encodeModel(input.model));
      const { path: plugin, sha256 } = part.file;
      const about = { plugin, sha256, part: part.name, call: input.call, ...input.data, why, printed };
      writeFileSync(join(path, 'case.json'), `${JSON.stringify(about, plainNumbers, 2)}\n`);
    };
    if (folder === undefined) unsaved.push(save);
    else save();
    report(`${sentence}; ${describeInput(input)}${folder === undefined ? '' : `, saved in ${join(folder, where)}`}`);
    return new Disabled(sentence);
  };

  /** A new process with all files that are well-behaved; false when that cannot be had. */
  const restart = (): boolean => {
    sender.forget();
    const started = bridge.ask({ kind: 'start', maxBytes });
    // the cast: `start` answers with a number
    generation = 'value' in started ? (started.value as number) : 0;
    return files.every((file) => {
      const part = wholeFile(file);
      if (disabled.has(keyOf(part))) return true;
      const reply = call({ op: 'load', file: file.index, url: file.url });
      if ('value' in reply) return true;
      fail(part, whyOf(reply), { call: 'loading it again' }, printedOf(reply));
      return false;
    });
  };
  const call = (made: Call): BridgeReply =>
    bridge.ask({
      kind: 'call',
      call: made,
      generation,
      maxBytes,
      // a file may import much
      deadlineMs: made.op === 'load' ? Math.max(deadlineMs, LOAD_MS) : deadlineMs,
    });
  const settled = (make: () => Call): BridgeReply => {
    for (let attempt = 0; attempt < 4; attempt++) {
      const reply = generation === 0 ? { gone: true as const } : call(make());
      if (!('gone' in reply)) return reply;
      for (let i = 0; i <= files.length && !restart(); i++);
    }
    return { ended: 'ended the process again and again', printed: '' };
  };

  return {
    sender,
    failures,
    without,
    isDisabled: (part) => disabled.has(keyOf(part)) || disabled.has(keyOf(wholeFile(part.file))),
    load(file) {
      const part = wholeFile(file);
      const reply = settled(() => ({ op: 'load', file: file.index, url: file.url }));
      if ('value' in reply) {
        files.push(file);
        return reply.value;
      }
      if ('error' in reply && reply.error.sentence) throw new PareError(`plug-in ${file.path}: ${reply.error.message}`);
      if ('ended' in reply) generation = 0;
      fail(part, whyOf(reply), { call: 'loading it' }, printedOf(reply));
      return undefined;
    },
    ask(part, make, input) {
      const known = disabled.get(keyOf(part)) ?? disabled.get(keyOf(wholeFile(part.file)));
      if (known !== undefined) throw new Disabled(known);
      const reply = settled(make);
      if ('value' in reply) return reply.value;
      if ('error' in reply && reply.error.sentence) throw new PareError(reply.error.message);
      if ('ended' in reply) generation = 0;
      throw fail(part, whyOf(reply), input, printedOf(reply));
    },
    fail,
    tryOut(trial) {
      const reply = bridge.ask({ kind: 'try', trial, deadlineMs: 6 * deadlineMs, maxBytes: 4 * maxBytes });
      // the cast: worker.ts answers `try` with a TrialResult
      if ('value' in reply) return reply.value as TrialResult;
      if ('error' in reply)
        throw reply.error.sentence ? new PareError(reply.error.message) : new Error(reply.error.message);
      throw new Error('the trial ended without an answer');
    },
    saveCasesIn(path) {
      folder = path;
      for (const save of unsaved.splice(0)) save();
    },
    close() {
      bridge.close();
      sender.close();
    },
  };
}

/** The file itself, where it cannot be loaded. */
export function wholeFile(file: PluginFile): Part {
  return { name: 'file', file };
}

function whyOf(reply: BridgeReply): string {
  if ('error' in reply) return `threw: ${reply.error.message}`;
  return 'ended' in reply ? reply.ended : 'gave no answer';
}

function printedOf(reply: BridgeReply): string {
  return 'printed' in reply ? reply.printed : '';
}

function describeInput({ data, model }: CaseInput): string {
  const text = data === undefined ? '' : ` ${JSON.stringify(data, plainNumbers).slice(0, 120)}`;
  return `its input was${text}${model === undefined ? '' : `${text === '' ? '' : ' on'} a graph of ${model.graph.nodes.length} nodes`}${text === '' && model === undefined ? ' the file alone' : ''}`;
}

/** For JSON.stringify: typed arrays and maps as lists. */
function plainNumbers(_key: string, value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float64Array, Number); // the cast: any array of numbers
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)];
  return typeof value === 'bigint' ? String(value) : value;
}
