// ResNet-20 at 50 % of its MACs, then label-free distillation: `npm run bench -- resnet20-train [FILE or FOLDER] [15m]`.
import { distilled } from './support/distilled.js';

export async function run(args: string[]): Promise<void> {
  distilled({ network: 'resnet20', time: '15m', least: 0.905, aim: 0.9218 }, args);
  await Promise.resolve();
}
