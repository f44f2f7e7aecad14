// The data manifest: a JSON file that writes down where data are and how they become the network's inputs, and its parser.
// Preprocessing of an image: decode, channel order, resize, crop, then (x * scale - mean) / std per channel, then layout.
import { dirname, isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf, PareError } from '../errors.js';
import { readWhole, statsOf } from './files.js';

const perChannel = z.union([z.number(), z.array(z.number()).min(1)]);
const size = z.union([z.int().positive(), z.tuple([z.int().positive(), z.int().positive()])]);

const preprocessing = {
  /** What the network wants; taken from the network's input where absent. */
  layout: z.enum(['NCHW', 'NHWC']).optional(),
  scale: z.number().optional(),
  mean: perChannel.optional(),
  std: perChannel.optional(),
  channels: z.enum(['RGB', 'BGR']).optional(),
  /** A number: the shorter side, aspect kept; [height, width]: stretched to it. */
  resize: size.optional(),
  /** Cut from the centre: a square, or [height, width]. */
  crop: size.optional(),
};

const arrayRef = z.union([z.string().min(1), z.strictObject({ array: z.string().min(1), ...preprocessing })]);

export const metricNames = ['top1', 'top5', 'mse', 'mae', 'agreement', 'relative-error'] as const;
export type MetricName = (typeof metricNames)[number];

const schema = z.strictObject({
  format: z.enum(['cifar10-binary', 'idx', 'npz', 'images']),
  /** Relative to the manifest, or absolute. */
  files: z.array(z.string().min(1)).min(1),
  ...preprocessing,
  metric: z.enum(metricNames).optional(),
  /** Name of the network's output that the metric reads; the first otherwise. */
  output: z.string().optional(),
  /** Name of the network's input that gets the images, for networks with several. */
  input: z.string().optional(),
  /** npz: input name -> array, `"x"` or `"other.npz:x"`, or an object with its own preprocessing. */
  inputs: z.record(z.string(), arrayRef).optional(),
  /** npz: the array of labels or targets; `y` where absent. */
  labels: z.string().optional(),
  /** images: names of the class folders in the order of the network's outputs; sorted names otherwise. */
  classes: z.array(z.string().min(1)).min(1).optional(),
  /** How images may be changed while a network is trained on them. */
  augment: z
    .strictObject({
      flip: z.boolean().optional(),
      crop: z.int().nonnegative().optional(),
      cutout: z.int().nonnegative().optional(),
    })
    .optional(),
  /** Only the first N samples. */
  limit: z.int().positive().optional(),
});

export type Manifest = z.infer<typeof schema>;
export type Preprocessing = Pick<Manifest, 'layout' | 'scale' | 'mean' | 'std' | 'channels' | 'resize' | 'crop'>;

export interface LocatedManifest {
  readonly manifest: Manifest;
  /** What messages call it. */
  readonly name: string;
  /** `files`, absolute. */
  readonly files: readonly string[];
  readonly folder: string;
}

/** A manifest file, or a .npz (.npy) file whose `x` (and `y`) are taken as they are. */
export function readManifest(path: string): LocatedManifest {
  const name = `"${path}"`;
  const stats = statsOf(path);
  if (stats === undefined) throw new PareError(`data ${name}: there is no such file`);
  if (stats.isDirectory()) throw new PareError(`data ${name} is a folder: ${needsManifest('images', path)}`);
  if (/\.np[yz]$/i.test(path)) return locate({ format: 'npz', files: [resolve(path)] }, path);
  if (!/\.json$/i.test(path)) {
    const format = /ubyte|idx/i.test(path) ? 'idx' : 'cifar10-binary';
    throw new PareError(
      `data ${name} is neither a .json manifest nor a .npz or .npy file: ${needsManifest(format, path)}`,
    );
  }
  const bytes = readWhole(path);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new PareError(`data manifest ${name} is not JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new PareError(`data manifest ${name}: ${firstIssue(parsed.error)}`);
  const manifest = parsed.data;
  const zero = [manifest.std].flat().some((s) => s === 0);
  if (zero) throw new PareError(`data manifest ${name}: "std" has a 0, and values are divided by it`);
  if (manifest.scale === 0) throw new PareError(`data manifest ${name}: "scale" is 0, which makes every image equal`);
  if (manifest.inputs !== undefined && manifest.format !== 'npz') {
    throw new PareError(
      `data manifest ${name}: "inputs" names arrays of an npz file, but the format is ${manifest.format}`,
    );
  }
  return locate(manifest, path);
}

function locate(manifest: Manifest, path: string): LocatedManifest {
  const folder = dirname(resolve(path));
  const files = manifest.files.map((file) => (isAbsolute(file) ? file : resolve(folder, file)));
  for (const [i, file] of files.entries()) {
    if (statsOf(file) === undefined) {
      throw new PareError(`data manifest "${path}": there is no file "${manifest.files[i]}" in ${folder}`);
    }
  }
  return { manifest, name: `"${path}"`, files, folder };
}

function needsManifest(format: Manifest['format'], path: string): string {
  const example = { format, files: [path], layout: 'NCHW', scale: 0.00392156862745098, mean: [0.5], std: [0.25] };
  return `how its values become the network's inputs must be written in a manifest such as ${JSON.stringify(example)}`;
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'not valid';
  if (issue.code === 'unrecognized_keys') {
    return `unknown key ${issue.keys.map((k) => `"${k}"`).join(', ')}; known are ${Object.keys(schema.shape).join(', ')}`;
  }
  const where = issue.path.length === 0 ? 'the manifest' : `"${issue.path.join('.')}"`;
  if (issue.message.endsWith('received undefined')) return `${where} is missing`;
  return `${where}: ${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`;
}
