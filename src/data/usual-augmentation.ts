// How a data set's samples may be changed in training when its manifest says nothing, and where their channels lie.
import type { Augmentation } from './augment.js';
import type { Dataset } from './dataset.js';

/**
 * What the manifest says; otherwise photographs are flipped and shifted by up to an eighth of their height. Digits and arrays of
 * unknown meaning stay as they are: mirrored ones may mean something else.
 */
export function usualAugmentation(dataset: Dataset): Augmentation | undefined {
  if (dataset.augment !== undefined) return dataset.augment;
  if (dataset.format !== 'cifar10-binary' && dataset.format !== 'images') return undefined;
  const image = [...dataset.batch([0]).inputs.values()].find((t) => t.dims.length === 4);
  const height = image?.dims[imageLayout(dataset) === 'NHWC' ? 1 : 2];
  return height === undefined ? undefined : { flip: true, crop: Math.floor(height / 8) };
}

/** As the manifest says, or as the shape of an image tells. */
export function imageLayout(dataset: Dataset): 'NCHW' | 'NHWC' {
  if (dataset.preprocessing.layout !== undefined) return dataset.preprocessing.layout;
  const dims = [...dataset.batch([0]).inputs.values()].find((t) => t.dims.length === 4)?.dims ?? [];
  return dims[1]! > 4 && dims[3]! <= 4 ? 'NHWC' : 'NCHW';
}
