// ResNet-56 at 50 % of its MACs, then label-free distillation: `npm run bench -- resnet56-train [FILE or FOLDER] [40m]`.
import { distilled } from './support/distilled.js';

export async function run(args: string[]): Promise<void> {
  distilled({ network: 'resnet56', time: '40m', least: 0.926, aim: 0.934 }, args);
  await Promise.resolve();
}
