import { describe, expect, test } from 'vitest';
import { parts } from '../../tools/uapi/parts.js';
import { parseHeader } from '../../tools/uapi/parse.js';
import { chapter } from '../../tools/uapi/shapes.js';

const text = `
#ifndef GUARD_H
#define GUARD_H
/* struct not_me { __u32 x; }; #define NOT_ME 1 */
#define TYPE (';')
#define MAKE(x) ((x) + 1)
#define LONG_NAME \\
	MAKE(3)
enum { FIRST = 1, SECOND, /* no THIRD */ };
enum colours { RED = 1 << 0, BLUE = RED << 1, };
struct inner { __u8 a; };
struct outer {
	__u32 size; // bytes
#define OUTER_FLAG (1 << 0)
	__u32 flags;
	union {
		__u32 in_type;
		__u32 out_type;
	};
	struct	inner one;
	__u64 *pointer;
	__aligned_u64 four[2 + 2];
	__u8 rest[];
};
struct command {
	__u32 op;
	__u32 id;
	union {
		struct { __u32 id; __u32 more; } first;
		struct { __u64 length; } second;
	};
	__u32 last;
};
#endif
`;

describe('the parser of uAPI headers', () => {
  const header = parseHeader(text, () => true);

  test('finds constants in order, but neither guards, macros with parameters nor what a comment says', () => {
    expect(header.constants).toEqual(['TYPE', 'LONG_NAME', 'FIRST', 'SECOND', 'RED', 'BLUE', 'OUTER_FLAG']);
    expect([...header.enums]).toEqual([['colours', ['RED', 'BLUE']]]);
  });

  test('finds structs that are wanted and no others', () => {
    expect([...header.structs.keys()]).toEqual(['inner', 'outer', 'command']);
    expect([...parseHeader(text, (name) => name === 'inner').structs.keys()]).toEqual(['inner']);
  });

  test('throws on a member that it cannot read, rather than leave it out', () => {
    expect(() => parseHeader('struct bits { __u32 low : 4; };', () => true)).toThrow(
      'cannot read the member',
    );
  });

  const { shapes } = chapter({ ...parts[0]!, takesStruct: () => true, takesConstant: () => true }, text);
  const shape = (name: string): unknown =>
    shapes
      .find((each) => each.name === name)
      ?.fields.map(({ name: field, path, inner, array }) => [field, path, inner, array]);

  test('takes the members of an anonymous union as those of the struct', () => {
    expect(shape('outer')).toEqual([
      ['size', 'size', null, 'no'],
      ['flags', 'flags', null, 'no'],
      ['in_type', 'in_type', null, 'no'],
      ['out_type', 'out_type', null, 'no'],
      ['one', 'one', 'inner', 'no'],
      ['pointer', 'pointer', null, 'no'],
      ['four', 'four', null, 'fixed'],
      ['rest', 'rest', null, 'flexible'],
    ]);
  });

  test('makes a view of each named arm of a union, and keeps its names apart from the common head', () => {
    expect(shape('command')).toEqual([
      ['op', 'op', null, 'no'],
      ['id', 'id', null, 'no'],
      ['last', 'last', null, 'no'],
    ]);
    expect(shape('command_first')).toEqual([
      ['op', 'op', null, 'no'],
      ['id', 'id', null, 'no'],
      ['first_id', 'first.id', null, 'no'],
      ['more', 'first.more', null, 'no'],
      ['last', 'last', null, 'no'],
    ]);
    expect(shapes.map((each) => each.name)).toEqual([
      'inner',
      'outer',
      'command',
      'command_first',
      'command_second',
    ]);
  });
});
