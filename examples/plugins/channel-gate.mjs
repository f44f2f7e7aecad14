// An operator: com.acme:ChannelGate(x [N, C, ...], gate [C]) multiplies every channel by the sigmoid of its gate. Pare knows nothing of
// the domain, so without this file the channels on both sides of it are frozen; with it they can be cut, the gate's with them.
// Run: pare groups model.onnx --plugin examples/plugins/channel-gate.mjs
import { PareError } from 'pare-onnx';

/** @type {readonly import('pare-onnx').PluginOperator[]} */
export const operators = [
  {
    opType: 'ChannelGate',
    domain: 'com.acme',
    category: 'activation',
    shape(c) {
      const [channels, gates] = [c.shape(0)?.[1], c.shape(1)?.[0]];
      if (typeof channels === 'number' && typeof gates === 'number' && channels !== gates) {
        throw new PareError(`ChannelGate "${c.node.name}": ${channels} channels, but ${gates} gates`);
      }
      return [c.type(0)];
    },
    channels(c) {
      const labels = c.labels(0);
      c.cut(1, c.spread(c.along(labels, 1), 0, c.inputShape(1)), 'along');
      c.output(0, labels);
    },
  },
];
