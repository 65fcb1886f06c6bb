/** placeholder */
import { generateSequence } from './generate.js';
import { encodeProgram } from './program.js';
import { playOnKernel } from './kernel.js';
import { readBrief } from './answers.js';
import { cover, coverageTable, type Coverage } from './coverage.js';

const n = Number(process.argv[2] ?? 100);
const t0 = Date.now();
const seqs = Array.from({ length: n }, (_, i) => generateSequence(1, i));
const prog = encodeProgram(seqs);
const t1 = Date.now();
console.log('generated', seqs.reduce((s, q) => s + q.ops.length, 0), 'ops', prog.length, 'bytes', t1 - t0, 'ms');
const lines = await playOnKernel(prog, 'brief');
const t2 = Date.now();
console.log('kernel', t2 - t1, 'ms', lines.length, lines.filter((l) => !l.startsWith('B')));
const lines2 = await playOnKernel(prog, 'brief');
let diff = 0;
lines.forEach((l, i) => { if (l !== lines2[i]) diff++; });
console.log('diff', diff);
const cov: Coverage = new Map();
const ans = readBrief(lines);
for (const s of seqs) cover(cov, s, ans.get(s.number)!);
console.log(coverageTable(cov));
