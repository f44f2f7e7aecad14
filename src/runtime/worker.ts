// Entry file of a thread of threads.ts.
import { parentPort } from 'node:worker_threads';
import { requestServer, type Request } from './serve.js';

const port = parentPort;
if (port === null) throw new Error('src/runtime/worker.ts is the entry of a thread');
const answer = requestServer();
port.on('message', (request: Request) => {
  void answer(request).then((reply) => port.postMessage(reply));
});
