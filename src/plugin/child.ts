// Entry file of the process in which plug-ins run: loads their files, answers one call after the other on read-only copies of graphs.
import { register } from 'node:module';
import { Worker } from 'node:worker_threads';
import type { ChildReply, ChildRequest } from './protocol.js';
import { callServer } from './serve.js';
import { messageOf } from '../errors.js';

const send = process.send?.bind(process);
if (send === undefined) throw new Error('src/plugin/child.ts is the entry of a child process');
// a plug-in has no business on this line
Object.defineProperty(process, 'send', { value: undefined });

// `import ... from 'pare-onnx'` finds this package, wherever the plug-in's file lies
const own = new URL('../index.js', import.meta.url).href;
const hook = `export const resolve = (s, c, next) => s === 'pare-onnx' ? { url: ${JSON.stringify(own)}, shortCircuit: true } : next(s, c);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const answer = callServer();
// the cast: worker.ts sends nothing but requests
process.on('message', (message) => {
  const { id, call } = message as ChildRequest;
  void answer(call).then((reply) => {
    try {
      send({ id, ...reply } satisfies ChildReply);
    } catch (error) {
      const why = messageOf(error);
      send({ id, error: { message: `what it gave is no plain data (${why})`, sentence: false } } satisfies ChildReply);
    }
  });
});
send({ id: 0 } satisfies ChildReply);
// who asked is gone: nothing is left to do
process.on('disconnect', () => process.exit(0));
// and while a plug-in loops this thread hears of nothing: another one looks after the parent
const watch = `setInterval(() => process.ppid !== ${process.ppid} && process.kill(process.pid, 'SIGKILL'), 500)`;
new Worker(watch, { eval: true }).unref();
