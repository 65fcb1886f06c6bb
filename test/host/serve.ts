/** An engine in a process of its own, for tests that end it: prints the client's environment as JSON. */
import { startEngine } from '#ioasis/host/engine.js';

const [dir = '', engineModule = ''] = process.argv.slice(2);
const engine = await startEngine({ config: {}, dir, engineModule });
process.stdout.write(`${JSON.stringify(engine.env)}\n`);
process.stdin.on('end', () => void engine.stop().then(() => process.exit(0)));
process.stdin.resume();
