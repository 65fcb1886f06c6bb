/**
 * A topology from a file, or all that is wrong with the file: each complaint with its line and column.
 */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { tryPlan, type Problem } from '../machine/plan.js';
import type { Topology } from '../machine/topology.js';
import { parseText, type Complaint, type ParsedText, type Place } from './document.js';
import { nearest } from './nearest.js';
import { KNOWN_KEYS, topologySchema } from './schema.js';

/** Thrown for a file that is no topology; the message has a line for each complaint: `file:line:column: text`. */
export class TopologyFileError extends Error {
  override readonly name = 'TopologyFileError';
}

/** More than this says nothing more. */
const SHOWN = 20;

/** Reads the topology of a YAML or JSON file. */
export function readTopology(file: string): Topology {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new TopologyFileError(`${file}: ${whyUnreadable(error as NodeJS.ErrnoException)}`);
  }
  return parseTopology(text, file);
}

/** The same from text; `file` is how messages name it. */
export function parseTopology(text: string, file: string): Topology {
  const parsed = parseText(text);
  if (parsed.complaints.length > 0) throw failure(file, text, parsed.complaints);
  const result = topologySchema.safeParse(parsed.value);
  if (!result.success) {
    throw failure(
      file,
      text,
      result.error.issues.flatMap((issue) => complaintsOf(issue, parsed, text)),
    );
  }
  const topology: Topology = result.data;
  const found: Problem[] = [];
  const resolved = withFiles(topology, dirname(file), found);
  const problems = [...tryPlan(topology).problems, ...found];
  if (problems.length > 0)
    throw failure(
      file,
      text,
      problems.map((problem) => complaintOf(problem, parsed)),
    );
  return resolved;
}

/** Files of namespaces are named as seen from the folder of the topology. */
function withFiles(topology: Topology, folder: string, problems: Problem[]): Topology {
  if (topology.devices === undefined) return topology;
  const devices = Object.entries(topology.devices).map(([name, device]) => {
    if (device.namespaces === undefined) return [name, device] as const;
    const namespaces = device.namespaces.map((namespace, index) => {
      if (namespace.file === undefined) return namespace;
      const file = resolve(folder, namespace.file);
      const wrong = whyNoStore(file, namespace.size !== undefined);
      const path = ['devices', name, 'namespaces', index, 'file'];
      if (wrong !== null)
        problems.push({ path, text: `expected a file to keep blocks in: ${file} ${wrong}` });
      return { ...namespace, file };
    });
    return [name, { ...device, namespaces }] as const;
  });
  return { ...topology, devices: Object.fromEntries(devices) };
}

/** Null: blocks can be kept there. */
function whyNoStore(file: string, canBeMade: boolean): string | null {
  try {
    if (!statSync(file).isFile()) return 'is none';
    accessSync(file, constants.R_OK | constants.W_OK);
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' && canBeMade ? null : whyUnreadable(error as NodeJS.ErrnoException);
  }
}

function whyUnreadable({ code, message }: NodeJS.ErrnoException): string {
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'not found',
    EACCES: 'permission denied',
    EISDIR: 'is a directory',
  };
  return known[code ?? ''] ?? message;
}

function complaintOf({ path, text, atKey }: Problem, parsed: ParsedText): Complaint {
  return { place: parsed.placeOf(path, atKey), text };
}

function complaintsOf(issue: z.core.$ZodIssue, parsed: ParsedText, text: string): Complaint[] {
  const { path } = issue;
  if (issue.code === 'unrecognized_keys') {
    const known = issue.message.slice(KNOWN_KEYS.length).split(' ');
    return issue.keys.map((key) => ({
      place: parsed.placeOf([...path, key], true),
      text: unknownKey(key, known),
    }));
  }
  if (issue.code === 'invalid_key') {
    const place = parsed.placeOf(path, true);
    return [{ place, text: `${issue.issues[0]?.message ?? issue.message}, found ${shown(text, place)}` }];
  }
  const place = parsed.placeOf(path);
  const isMissing = !parsed.has(path);
  if (isMissing) return [{ place, text: `${String(path.at(-1))} is missing: ${issue.message}` }];
  const wanted =
    issue.code === 'invalid_union' && issue.discriminator !== undefined
      ? 'expected vtd or selftest'
      : issue.message;
  return [{ place, text: `${wanted}, found ${shown(text, place)}` }];
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  const shownKey = key.length > LONGEST_SHOWN ? `${key.slice(0, LONGEST_SHOWN)}...` : key;
  if (meant !== null) return `unknown key ${shownKey}; did you mean ${meant}?`;
  return `unknown key ${shownKey}; expected ${known.join(', ')}`;
}

const LONGEST_SHOWN = 40;

/** What stands at `place`, on one line. */
function shown(text: string, { start, end }: Place): string {
  const found = text
    .slice(start, Math.min(end, start + LONGEST_SHOWN + 1))
    .split('\n')[0]!
    .trim();
  if (found === '') return 'nothing';
  const whole =
    found.length <= LONGEST_SHOWN && start + found.length >= text.slice(start, end).trimEnd().length + start;
  return whole ? found : `${found.slice(0, LONGEST_SHOWN)}...`;
}

function failure(file: string, text: string, complaints: readonly Complaint[]): TopologyFileError {
  const lines = complaints
    .toSorted((a, b) => a.place.start - b.place.start)
    .slice(0, SHOWN)
    .map(({ place, text: what }) => `${file}:${position(text, place.start)}: ${what}`);
  const more = complaints.length - lines.length;
  if (more > 0) lines.push(`${file}: and ${more} more`);
  return new TopologyFileError(lines.join('\n'));
}

/** `line:column`, both from 1. */
function position(text: string, offset: number): string {
  const before = text.slice(0, offset).split('\n');
  return `${before.length}:${before.at(-1)!.length + 1}`;
}
