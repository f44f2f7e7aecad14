// TransNAS-Bench-101: what both of its spaces share, the stem before and the heads of its tasks behind the searched part.
// Duan et al., CVPR 2021; TransNASBench, net_macro.py, task_models/decoder.py and the configurations of each task.
import { float } from '../../ir/builder.js';
import type { Model } from '../../ir/graph.js';
import { PareError } from '../../errors.js';
import { network, taskIn, type Feature, type Layers } from './layers.js';
import type { BuildOptions } from './space.js';

type Head = 'classifier' | 'jigsaw' | 'segmentation' | 'autoencoder';

interface TransnasTask {
  readonly head: Head;
  readonly shape: readonly [number, number, number];
  readonly outputs: number;
}

const IMAGE = [3, 256, 256] as const;
/** Tiles of a puzzle lie behind each other in the input's channels; one network sees each. */
const TILES = 9;

const TASKS: Readonly<Record<string, TransnasTask>> = {
  class_object: { head: 'classifier', shape: IMAGE, outputs: 75 },
  class_scene: { head: 'classifier', shape: IMAGE, outputs: 47 },
  jigsaw: { head: 'jigsaw', shape: [3 * TILES, 64, 64], outputs: 1000 },
  room_layout: { head: 'classifier', shape: IMAGE, outputs: 9 },
  segmentsemantic: { head: 'segmentation', shape: IMAGE, outputs: 17 },
  autoencoder: { head: 'autoencoder', shape: IMAGE, outputs: 3 },
  // images of surface normals: the same decoder as the autoencoder's
  normal: { head: 'autoencoder', shape: IMAGE, outputs: 3 },
};

export const TRANSNAS_TASKS: readonly string[] = Object.keys(TASKS);

/** The longest name of a task that the label's column contains. */
export function transnasTaskOf(label: string): string {
  const name = label.toLowerCase();
  if (/segment/.test(name)) return 'segmentsemantic';
  return TRANSNAS_TASKS.find((task) => name.includes(task)) ?? 'class_object';
}

/** What the searched part does to channels and size: the decoders depend on it. */
export interface Backbone {
  readonly name: string;
  readonly base: number;
  /** Modules: 1 same, 2 twice the channels, 3 half the size, 4 both. */
  readonly modules: readonly number[];
  /** One block of a module. */
  readonly block: (l: Layers, x: Feature, c: number, stride: number) => Feature;
}

export function buildTransnas(backbone: Backbone, options: BuildOptions): Model {
  const task = taskIn(TASKS, backbone.name, options.task ?? 'class_object');
  return network(backbone.name, task.shape, options, (l, input) => {
    const outputs = options.classes ?? task.outputs;
    if (task.head !== 'jigsaw') return head(l, task.head, body(l, input, backbone), halvings(backbone), outputs);
    const [c, h, w] = options.inputShape ?? task.shape;
    const tiles = c / 3;
    const single = { value: l.g.op('Reshape', [input.value, l.g.ints([-1, 3, h, w])]), c: 3 };
    const seen = l.apply('GlobalAveragePool', body(l, single, backbone));
    const joined = l.g.op('Reshape', [seen.value, l.g.ints([-1, tiles * seen.c])]);
    return l.matrix({ value: joined, c: tiles * seen.c }, outputs);
  });
}

function body(l: Layers, input: Feature, { base, modules, block }: Backbone): Feature {
  let x = l.convNorm(input, base >> 1, 3, { stride: 2 });
  x = l.convNorm(l.relu(x), base, 3, { stride: 2 });
  for (const code of modules) {
    const c = code % 2 === 0 ? 2 * x.c : x.c;
    x = block(l, x, c, code > 2 ? 2 : 1);
    x = block(l, x, c, 1);
  }
  return x;
}

/** How often the decoders must double the size to be back at the input's. */
function halvings({ modules }: Backbone): number {
  return 2 + modules.filter((code) => code > 2).length;
}

function head(l: Layers, kind: Head, x: Feature, doublings: number, outputs: number): Feature {
  if (kind === 'classifier') return l.classifier(x, outputs);
  if (doublings > 6) {
    throw new PareError(
      `the decoders of TransNAS-Bench-101 double the size at most 6 times, this network needs ${doublings}`,
    );
  }
  return kind === 'segmentation' ? segmentation(l, x, doublings, outputs) : generative(l, x, doublings, outputs);
}

function segmentation(l: Layers, features: Feature, doublings: number, outputs: number): Feature {
  let x = conv(l, features, 1024);
  for (let i = 0; i < 6 - doublings; i++) x = conv(l, x, x.c >> 1);
  for (let i = 0; i < doublings - 1; i++) x = up(l, x, x.c >> 1);
  x = up(l, x, x.c);
  return l.conv(x, outputs, 3, { bias: true });
}

function generative(l: Layers, features: Feature, doublings: number, outputs: number): Feature {
  const step = (x: Feature, c: number, doubles: boolean): Feature => (doubles ? up(l, x, c) : conv(l, x, c));
  let x = conv(l, conv(l, features, 1024), 1024);
  x = conv(l, step(x, 512, doublings === 6), 512);
  x = conv(l, step(x, 256, doublings >= 5), 128);
  x = conv(l, step(x, 64, doublings >= 4), 64);
  x = conv(l, step(x, 32, doublings >= 3), 32);
  x = up(l, conv(l, up(l, x, 16), 32), 16);
  return l.apply('Tanh', l.conv(x, outputs, 3, { bias: true }));
}

function conv(l: Layers, x: Feature, c: number): Feature {
  return leaky(l, l.norm(l.conv(x, c, 3, { bias: true })));
}

function up(l: Layers, x: Feature, c: number): Feature {
  const inputs = [x.value, l.weight('deconv.weight', [x.c, c, 3, 3]), l.weight('deconv.bias', [c])];
  const attributes = { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] };
  return leaky(l, l.norm({ value: l.g.op('ConvTranspose', inputs, attributes), c }));
}

function leaky(l: Layers, x: Feature): Feature {
  return l.apply('LeakyRelu', x, { alpha: float(0.2) });
}
