// Entry file of the process of isolated.ts.
import { Worker } from 'node:worker_threads';
import { requestServer, type Reply, type Request } from './serve.js';

const send = process.send?.bind(process);
if (send === undefined) throw new Error('src/runtime/child.ts is the entry of a child process');
const answer = requestServer();
// the cast: isolated.ts sends nothing but requests
process.on('message', (request) => void answer(request as Request).then((reply: Reply) => send(reply)));
// who asked is gone: nothing is left to do
process.on('disconnect', () => process.exit(0));
// and while native code runs this thread hears of nothing: another one looks after the parent
const watch = `setInterval(() => process.ppid !== ${process.ppid} && process.kill(process.pid, 'SIGKILL'), 500)`;
new Worker(watch, { eval: true }).unref();
