// The channel rule of a plug-in's operator: its labels go out with atoms numbered anew, what the rule did there is done again here.
import { PareError } from '../errors.js';
import type { Attribute, Node } from '../ir/graph.js';
import type { ChannelContext, ChannelRule, Labels, NodePatch, RecountContext } from '../ops/op.js';
import { forEachAtom, spread } from '../ops/labels.js';
import type { ChannelInput, ChannelStep, LabelData, RecountAnswer, RecountReply } from './protocol.js';
import { caseOf, type RemoteOperator } from './remote-rule.js';
import { Disabled } from './sandbox.js';

/** Rounds of questions that a recount may take. */
const MAX_QUESTIONS = 64;

export function remoteChannels(remote: RemoteOperator): ChannelRule {
  const { sandbox, part, key } = remote;
  return (c) => {
    const { node } = c;
    const { input, atoms } = inputOf(c);
    const about = caseOf('channel', node, input);
    const sent = (): ChannelInput => ({ ...input, node: sandbox.sender.pack(node) });
    const steps = remote.answer('channels', node, input, () => {
      const given = sandbox.ask(part, () => ({ op: 'channels', operator: key, input: sent() }), about);
      try {
        return checkedSteps(given, c, atoms.length);
      } catch (error) {
        if (!(error instanceof PareError)) throw error;
        throw sandbox.fail(part, `gave what cannot be used: ${error.message}`, about);
      }
    });
    if (steps === undefined) {
      for (let i = 0; i < c.arity; i++) if (c.present(i)) c.freeze(c.labels(i), 'a plug-in operator that is disabled');
      return;
    }
    doAgain(c, steps, atoms, (index) => (rc, labelsOf) => {
      const answers: RecountAnswer[] = [];
      for (let round = 0; round < MAX_QUESTIONS; round++) {
        const reply = sandbox.ask(
          part,
          () => ({ op: 'recount', operator: key, input: sent(), index, answers }),
          caseOf('recount', node, input),
        ) as RecountReply; // the cast: serve.ts answers so, and each part is looked at below
        if (!('ask' in reply)) return patchOf(reply, remote, node, input);
        answers.push(answerTo(reply.ask, rc, node, labelsOf));
      }
      throw sandbox.fail(part, 'asked without end while recounting', about);
    });
  };
}

type Recounter = (index: number) => (rc: RecountContext, labelsOf: (data: LabelData) => Labels) => NodePatch;

/** The same steps on the real labels. */
function doAgain(
  c: ChannelContext,
  steps: readonly ChannelStep[],
  given: readonly number[],
  recounter: Recounter,
): void {
  // number in the process -> atom here; fresh ones are added as they come
  const atoms = [0, ...given];
  const arrays = new Map<string, Int32Array>();
  const real = (own: Int32Array): Int32Array => {
    // equal lines are recognised by identity
    const text = own.join();
    let found = arrays.get(text);
    if (found === undefined) arrays.set(text, (found = own.map((a) => atoms[a] ?? 0)));
    return found;
  };
  const labelsOf = ({ shape, strides, offset, atoms: own }: LabelData): Labels => ({
    shape,
    strides,
    offset,
    atoms: real(own),
  });
  let recounts = 0;
  for (const step of steps) {
    switch (step[0]) {
      case 'fresh':
        atoms.push(...c.fresh(step[1]));
        break;
      case 'tie':
        c.tie(labelsOf(step[1]), labelsOf(step[2]));
        break;
      case 'tieAll':
        c.tieAll(real(step[1]));
        break;
      case 'freeze':
        c.freeze(labelsOf(step[1]), step[2]);
        break;
      case 'inexact':
        c.inexact(labelsOf(step[1]), step[2]);
        break;
      case 'whole':
        c.whole(labelsOf(step[1]), step[2], step[3]);
        break;
      case 'hold':
        c.hold(labelsOf(step[1]), step[2]);
        break;
      case 'consume':
        c.consume(step[1], labelsOf(step[2]), step[3]);
        break;
      case 'cut':
        c.cut(step[1], labelsOf(step[2]), step[3]);
        break;
      case 'output':
        c.output(step[1], labelsOf(step[2]));
        break;
      case 'recount': {
        const patch = recounter(recounts++);
        c.recount((rc) => patch(rc, labelsOf));
        break;
      }
    }
  }
}

function inputOf(c: ChannelContext): { readonly input: ChannelInput; readonly atoms: readonly number[] } {
  const each = Array.from({ length: c.arity }, (_, i) => i);
  const own = each.map((i) => (c.present(i) && !c.isConstant(i) ? c.labels(i) : c.none(c.inputShape(i))));
  const numbers = new Map<number, number>();
  for (const labels of own) {
    forEachAtom(labels, (atom) => {
      if (atom !== 0 && !numbers.has(atom)) numbers.set(atom, numbers.size + 1);
    });
  }
  const atoms = [...numbers.keys()];
  // the first atom seen of each class stands for it
  const first = new Map<number, number>();
  const classes = Int32Array.from(atoms, (atom, k) => {
    const root = c.classOf(atom);
    if (root === 0) return 0;
    if (!first.has(root)) first.set(root, k + 1);
    return first.get(root)!;
  });
  const inexact = Uint8Array.from(atoms, (atom) => (c.isInexact(spread(Int32Array.of(atom), 0, [1])) ? 1 : 0));
  const input: ChannelInput = {
    node: undefined,
    opset: c.opset,
    inputShapes: each.map((i) => c.inputShape(i)),
    outputShapes: c.node.outputs.map((_, i) => c.outputShape(i)),
    values: each.map((i) => c.value(i)),
    elemTypes: each.map((i) => c.elemType(i)),
    constant: each.map((i) => c.isConstant(i)),
    labels: own.map(({ shape, strides, offset, atoms: list }) => ({
      shape,
      strides,
      offset,
      // atoms beside the view mean nothing here
      atoms: list.map((a) => numbers.get(a) ?? 0),
    })),
    classes,
    inexact,
  };
  return { input, atoms };
}

function answerTo(
  ask: Extract<RecountReply, { ask: unknown }>['ask'],
  rc: RecountContext,
  node: Node,
  labelsOf: (data: LabelData) => Labels,
): RecountAnswer {
  if (ask === 'values') {
    const blank: LabelData = { shape: [], strides: [], offset: 0, atoms: new Int32Array(1) };
    return { labels: blank, axis: -2, answer: [], values: node.inputs.map((_, i) => rc.value(i)) };
  }
  const labels = labelsOf(ask.labels);
  return { ...ask, answer: ask.axis === -1 ? rc.dims(labels) : rc.alive(labels, ask.axis) };
}

function patchOf(
  { attributes, inputs }: Extract<RecountReply, { inputs: unknown }>,
  { sandbox, part }: RemoteOperator,
  node: Node,
  input: ChannelInput,
): NodePatch {
  const wrong = (why: string): Disabled => sandbox.fail(part, `gave ${why}`, caseOf('recount', node, input));
  // the cast: looked at below, one by one
  const given = sandbox.sender.unpack(attributes) as Readonly<Record<string, Attribute | undefined>>;
  for (const [name, a] of Object.entries(given)) {
    const fine = a === undefined || (a.name === name && isNumeric(a));
    if (!fine) throw wrong(`attribute "${name}", which is no attribute of numbers or text`);
  }
  for (const [i, list] of inputs) {
    const whole = list.every((x) => x === undefined || Number.isSafeInteger(x));
    if (!Number.isSafeInteger(i) || i < 0 || i > node.inputs.length || !whole)
      throw wrong(`contents of input ${i} that are no integers`);
  }
  return { attributes: given, inputs: new Map(inputs) };
}

function isNumeric(a: Attribute): boolean {
  switch (a.kind) {
    case 'int':
    case 'float':
      return Number.isFinite(a.value);
    case 'ints':
    case 'floats':
      return Array.isArray(a.value) && a.value.every((x) => Number.isFinite(x));
    case 'string':
      return typeof a.value === 'string';
    default:
      return false;
  }
}

/** Throws PareError where a step does not fit the node. */
function checkedSteps(given: unknown, c: ChannelContext, known: number): readonly ChannelStep[] {
  if (!Array.isArray(given)) throw new PareError('no list of steps');
  let count = known;
  const labels = (l: LabelData, shape?: readonly number[]): void => {
    if (shape !== undefined && l.shape.join() !== shape.join()) {
      throw new PareError(`labels of shape [${l.shape.join(', ')}] for a value of shape [${shape.join(', ')}]`);
    }
    let [low, high] = [l.offset, l.offset];
    if (l.shape.length !== l.strides.length) throw new PareError('labels with as many strides as axes are needed');
    l.shape.forEach((d, k) => {
      const stride = l.strides[k]!;
      if (!Number.isSafeInteger(d) || d < 0 || !Number.isSafeInteger(stride)) throw new PareError('labels of no shape');
      const reach = Math.max(0, d - 1) * stride;
      if (reach < 0) low += reach;
      else high += reach;
    });
    if (!l.shape.includes(0) && (low < 0 || high >= l.atoms.length))
      throw new PareError('labels that reach beyond their atoms');
    for (const a of l.atoms) if (a < 0 || a > count) throw new PareError(`atom ${a}, which nobody made`);
  };
  const input = (i: number): void => {
    if (!Number.isSafeInteger(i) || i < 0 || i >= c.arity) throw new PareError(`the node has no input ${i}`);
  };
  const axis = (l: LabelData, k: number): void => {
    if (!Number.isSafeInteger(k) || k < 0 || k >= l.shape.length) throw new PareError(`labels have no axis ${k}`);
  };
  // the cast: channel-record.ts gives steps, whatever the rule does; what they hold is looked at here
  for (const step of given as readonly ChannelStep[]) {
    switch (step[0]) {
      case 'fresh':
        if (!Number.isSafeInteger(step[1]) || step[1] < 0 || step[1] > 1e6)
          throw new PareError(`${step[1]} fresh atoms`);
        count += step[1];
        break;
      case 'tie':
        labels(step[1]);
        labels(step[2], step[1].shape);
        break;
      case 'tieAll':
        for (const a of step[1]) if (a < 0 || a > count) throw new PareError(`atom ${a}, which nobody made`);
        break;
      case 'freeze':
      case 'inexact':
        labels(step[1]);
        break;
      case 'whole':
      case 'hold':
        labels(step[1]);
        axis(step[1], step[2]);
        break;
      case 'consume':
      case 'cut':
        input(step[1]);
        labels(step[2], step[0] === 'consume' ? c.inputShape(step[1]) : undefined);
        break;
      case 'output':
        if (!Number.isSafeInteger(step[1]) || step[1] < 0 || step[1] >= c.node.outputs.length) {
          throw new PareError(`the node has no output ${step[1]}`);
        }
        labels(step[2], c.outputShape(step[1]));
        break;
      case 'recount':
        break;
    }
  }
  return given as readonly ChannelStep[]; // the cast: as above
}
