/**
 * Puts every mutant of a module into one copy of it, each behind a question that asks whether it is the one that is
 * switched on (`globalThis.mutant`), so that the module is loaded once for all of them. Works on compiled JavaScript.
 */
import { parseAst } from 'vite';

export interface Mutant {
  readonly id: number;
  readonly file: string;
  readonly line: number;
  /** The whole line, without what it is indented by. */
  readonly code: string;
  /** One line has no two that are called the same. */
  readonly what: string;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly before: string;
  readonly after: string;
}

/** What each operator becomes. */
const SWAPS: Readonly<Record<string, string>> = {
  '===': '!==',
  '!==': '===',
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '+': '-',
  '-': '+',
  '&': '|',
  '|': '&',
  '^': '&',
  '<<': '>>>',
  '>>>': '<<',
  '&&': '||',
  '||': '&&',
};
const BITWISE = new Set(['&', '|', '^']);
const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

export class Instrumenter {
  readonly mutants: Mutant[] = [];

  /** The instrumented text of `file`. */
  instrument(file: string, source: string): string {
    const edits: Edit[] = [];
    const lines = source.split('\n');
    const starts = lines.map(
      (
        (at) => (line: string) =>
          (at += line.length + 1) - line.length - 1
      )(0),
    );
    const named = new Map<string, number>();
    const lineOf = (at: number): number => starts.findLastIndex((start) => start <= at) + 1;
    const add = (node: Node, what: string): number => {
      const id = this.mutants.length + 1;
      const line = lineOf(node.start);
      const code = lines[line - 1]!.trim();
      const called = `${line}: ${what}`;
      const count = (named.get(called) ?? 0) + 1;
      named.set(called, count);
      this.mutants.push({ id, file, line, code, what: count === 1 ? what : `${what} (${count})` });
      return id;
    };
    const text = (node: Node): string => source.slice(node.start, node.end);
    /** Another expression in place of this one. */
    const replace = (node: Node, other: string, what: string): void => {
      const id = add(node, what);
      edits.push({ ...node, before: `(mutant(${id}) ? (${other}) : (`, after: '))' });
    };
    const operator = (node: Node): void => {
      const swap = SWAPS[node['operator'] as string];
      if (swap === undefined) return;
      const [left, right] = [node['left'] as Node, node['right'] as Node];
      // The tree has no parentheses, and `a & (b === c)` is not what becomes of `(a & b) !== c`.
      replace(node, `(${text(left)}) ${swap} (${text(right)})`, `${short(text(node))}: ${swap}`);
    };
    const condition = (test: Node): void => {
      if (test.type !== 'BinaryExpression') replace(test, `!(${text(test)})`, `not: ${short(text(test))}`);
    };
    const visit = (node: Node, parent: Node | null, isInside: boolean): void => {
      // How large an array is made: one more place is no mistake.
      if (node.type === 'NewExpression' && /^\w+Array$/.test(text(node['callee'] as Node))) return;
      // What stands outside of functions is done once, before anything is switched on.
      const inside = isInside || /Function|MethodDefinition|PropertyDefinition/.test(node.type);
      if (isInside) {
        if (node.type === 'BinaryExpression' || node.type === 'LogicalExpression') operator(node);
        if (node.type === 'IfStatement' || node.type === 'ConditionalExpression')
          condition(node['test'] as Node);
        if (node.type === 'Literal' && typeof node['value'] === 'number' && !isKey(node, parent))
          replace(node, `${node['value'] + 1}`, `${node['value']} + 1`);
        if (
          node.type === 'Identifier' &&
          /^[A-Z][A-Z0-9_]+$/.test(node['name'] as string) &&
          !isKey(node, parent)
        ) {
          const shifts = parent?.type === 'BinaryExpression' && BITWISE.has(parent['operator'] as string);
          replace(
            node,
            `${text(node)} ${shifts ? '<< 1' : '+ 1'}`,
            `${text(node)}${shifts ? ' << 1' : ' + 1'}`,
          );
        }
        if (node.type === 'ExpressionStatement') {
          const id = add(node, `without: ${short(text(node))}`);
          edits.push({ ...node, before: `{ if (!mutant(${id})) {`, after: '}}' });
        }
      }
      for (const value of Object.values(node)) {
        for (const child of Array.isArray(value) ? value : [value]) {
          if (isNode(child)) visit(child, node, inside);
        }
      }
    };
    visit(parseAst(source) as unknown as Node, null, false);
    return `const { mutant } = globalThis;\n${apply(source, edits)}`;
  }
}

/** A name, not a value: of a property, of what is assigned or declared, of what is imported. */
function isKey(node: Node, parent: Node | null): boolean {
  if (parent === null) return true;
  if (parent.type === 'MemberExpression') return parent['property'] === node && parent['computed'] !== true;
  if (parent.type === 'VariableDeclarator' || parent.type === 'Property')
    return parent['id'] === node || parent['key'] === node || parent['shorthand'] === true;
  if (parent.type === 'AssignmentExpression') return parent['left'] === node;
  return /Specifier|Function|Definition|UpdateExpression|Pattern/.test(parent.type);
}

function short(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length <= 60 ? line : `${line.slice(0, 57)}...`;
}

/** Innermost last at one place, so that what is put around keeps its order. */
function apply(source: string, edits: readonly Edit[]): string {
  const marks: { at: number; order: number; text: string }[] = [];
  for (const { start, end, before, after } of edits) {
    marks.push({ at: start, order: start - end, text: before }, { at: end, order: 1e9 - start, text: after });
  }
  marks.sort((a, b) => a.at - b.at || closing(b) - closing(a) || a.order - b.order);
  let result = '';
  let done = 0;
  for (const { at, text } of marks) {
    result += source.slice(done, at) + text;
    done = at;
  }
  return result + source.slice(done);
}

/** At one place what ends comes before what begins. */
function closing({ order }: { order: number }): number {
  return order > 0 ? 1 : 0;
}
