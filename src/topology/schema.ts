/**
 * The shape of a topology file. Messages, the published JSON Schema (docs/topology.schema.json) and the types of
 * `src/machine/topology.ts` agree, because the first two are made from this and the compiler compares the third.
 * Invariant: every message reads on after the place: `expected ...`.
 */
import { z } from 'zod';
import { vtdDefaults } from '../hw/vtd/features.js';
import { CAP, ECAP } from '../hw/vtd/registers.js';

/** Begins the message of an object that has a key too many; the keys that it may have follow. */
export const KNOWN_KEYS = 'known keys: ';

function members<S extends z.core.$ZodLooseShape>(shape: S, what: string): z.ZodObject<S, z.core.$strict> {
  return z.strictObject(shape, {
    error: ({ code }) =>
      code === 'unrecognized_keys'
        ? KNOWN_KEYS + Object.keys(shape).join(' ')
        : `expected members of ${what}, or {} for none`,
  });
}

const MOST_NAMESPACES = 64;
const NAME = /^[A-Za-z0-9_.:-]{1,64}$/;
const nameText = 'expected a name of letters, digits and _.:- (64 at most)';
const name = (description: string): z.ZodString =>
  z.string({ error: nameText }).regex(NAME, { error: nameText }).meta({ description });

function named<T extends z.ZodType>(
  value: T,
  what: string,
  description: string,
): z.ZodRecord<z.ZodString, T> {
  const error = `expected ${what} by name, or {} for none`;
  return z.record(z.string().regex(NAME, { error: nameText }), value, { error }).meta({ description });
}

const flag = (description: string, standard: boolean): z.ZodBoolean =>
  z.boolean({ error: 'expected true or false' }).meta({ description, default: standard });

function whole(least: number, most: number, description: string, standard?: number): z.ZodNumber {
  const error = `expected a whole number from ${least} to ${most}`;
  return z
    .int({ error })
    .min(least, { error })
    .max(most, { error })
    .meta({ description, ...(standard === undefined ? {} : { default: standard }) });
}

const choice = <const C extends string>(
  choices: readonly C[],
  description: string,
): z.ZodEnum<{ [K in C]: K }> =>
  z.enum(choices, { error: `expected ${choices.join(', ')}` }).meta({ description });

const addressText = 'expected an address, such as 0xfee00000';
const address = (description: string): z.ZodUnion<readonly [z.ZodNumber, z.ZodString]> =>
  z
    .union(
      [
        z.int({ error: addressText }).min(0, { error: addressText }),
        z.string().regex(/^0x[0-9a-fA-F]{1,16}$/, { error: addressText }),
      ],
      { error: addressText },
    )
    .meta({ description });

/** Fields of a register by the names of the specification. */
function fields<F extends string>(
  layout: Readonly<Record<F, readonly [number, number]>>,
  register: string,
): z.ZodExactOptional<z.ZodObject<Record<F, z.ZodExactOptional<z.ZodNumber>>, z.core.$strict>> {
  const shape = Object.fromEntries(
    (Object.entries(layout) as [F, readonly [number, number]][]).map(([field, [lowest, width]]) => {
      const bits = width === 1 ? `bit ${lowest}` : `bits ${lowest + width - 1}:${lowest}`;
      return [field, whole(0, 2 ** width - 1, `${register}.${field}, ${bits}`).exactOptional()];
    }),
  ) as Record<F, z.ZodExactOptional<z.ZodNumber>>;
  return members(shape, register)
    .meta({ description: `Fields of ${register} as they are to be` })
    .exactOptional();
}

const can = vtdDefaults;

const vtd = members(
  {
    type: z
      .literal('vtd', { error: 'expected vtd or selftest' })
      .meta({ description: 'Intel VT-d in scalable mode', default: 'vtd' })
      .exactOptional(),
    addressWidth: z
      .literal([39, 48, 57], { error: 'expected 39, 48 or 57' })
      .meta({
        description: 'Bits of an address that devices may emit: tables of 3, 4 or 5 levels',
        default: can.addressWidth,
      })
      .exactOptional(),
    largePages: z
      .array(choice(['2M', '1G'], 'A page size beside 4 KiB'), { error: 'expected a list of 2M and 1G' })
      .meta({ description: 'Page sizes beside 4 KiB', default: can.largePages })
      .exactOptional(),
    firstStage: flag('First-stage tables', can.firstStage).exactOptional(),
    secondStage: flag('Second-stage tables', can.secondStage).exactOptional(),
    nesting: flag('First stage on top of second stage', can.nesting).exactOptional(),
    passThrough: flag('Pass-through translation type', can.passThrough).exactOptional(),
    pasidBits: whole(0, 20, 'Bits of a PASID; 0: none', can.pasidBits).exactOptional(),
    ats: flag('Device-TLBs', can.ats).exactOptional(),
    pri: flag('Page requests', can.pri).exactOptional(),
    dirtyTracking: flag('Accessed and dirty bits in second-stage tables', can.dirtyTracking).exactOptional(),
    snoopControl: flag('Domains can enforce coherency (SNP)', can.snoopControl).exactOptional(),
    coherentWalks: flag("Walks see the CPU's caches", can.coherentWalks).exactOptional(),
    faultRecords: whole(1, 128, 'Fault recording registers', can.faultRecords).exactOptional(),
    domainIdBits: whole(4, 16, 'Bits of a domain id, an even number', can.domainIdBits).exactOptional(),
    hostAddressWidth: whole(
      46,
      52,
      'Bits of an address of host memory',
      can.hostAddressWidth,
    ).exactOptional(),
    registers: members(
      { CAP: fields(CAP, 'CAP_REG'), ECAP: fields(ECAP, 'ECAP_REG') },
      'registers: CAP and ECAP',
    )
      .meta({ description: 'What the capability registers say, whatever the names above say' })
      .exactOptional(),
  },
  'a VT-d unit',
);

const selftest = members(
  { type: z.literal('selftest').meta({ description: "The kernel's mock IOMMU, as --selftest offers it" }) },
  'a selftest unit, which has none but its type',
);

const bus = members(
  {
    type: choice(['pci', 'platform'], 'What kind of bus'),
    unit: name('The unit in front of it; the only one, if there is one').exactOptional(),
    segment: whole(0, 0xffff, 'PCI: the first part of every address', 0).exactOptional(),
  },
  'a bus',
);

const reserved = members(
  {
    type: choice(
      ['direct', 'direct-relaxable', 'reserved', 'msi', 'sw-msi'],
      "Linux' kind of reserved region; an RMRR is direct",
    ),
    start: address('The first byte'),
    last: address('The last byte'),
  },
  'a reserved range',
);

const sizeText = 'expected bytes, or a number with K, M, G or T behind it';
const sizeOf = z.union(
  [
    z.int({ error: sizeText }).min(1, { error: sizeText }),
    z.string().regex(/^[1-9][0-9]{0,5}[KMGT]$/, { error: sizeText }),
  ],
  { error: sizeText },
);
const namespace = members(
  {
    size: sizeOf
      .meta({ description: 'Bytes, or a number with K, M, G or T behind it. Default: what the file has' })
      .exactOptional(),
    file: z
      .string({ error: 'expected the path of a file' })
      .min(1, { error: 'expected the path of a file' })
      .meta({ description: 'Where its blocks are. Default: in memory, and gone with the machine' })
      .exactOptional(),
  },
  'a namespace',
);

const device = members(
  {
    model: choice(
      ['dma-test', 'ioat', 'nvme'],
      'What it is: a DMA test device, an Intel DMA engine, an NVMe controller. Default: dma-test',
    ).exactOptional(),
    namespaces: z
      .array(namespace, { error: 'expected a list of namespaces' })
      .max(MOST_NAMESPACES, { error: `expected ${MOST_NAMESPACES} namespaces at most` })
      .meta({ description: 'Storage of an nvme, from number 1 on. Default: one of 64 MiB, in memory' })
      .exactOptional(),
    cxlMemory: sizeOf
      .meta({ description: 'Makes a dma-test a CXL device with so much memory, in multiples of 256M' })
      .exactOptional(),
    virtualFunctions: whole(0, 64, 'Virtual functions that it can be told to have', 0).exactOptional(),
    bus: name('The bus it is on; the only one that takes its address, if there is one').exactOptional(),
    sourceId: whole(0, 0xffff, 'Requester id of a device that is not on PCI').exactOptional(),
    group: name('Devices of one group are attached together').exactOptional(),
    pasidBits: whole(0, 20, 'Bits of a PASID; 0: none. Default: as the unit').exactOptional(),
    ats: z
      .boolean({ error: 'expected true or false' })
      .meta({ description: 'Has a device-TLB. Default: as the unit' })
      .exactOptional(),
    pri: z
      .boolean({ error: 'expected true or false' })
      .meta({ description: 'Asks for missing pages. Default: as ats' })
      .exactOptional(),
    coherent: flag("Its DMA sees the CPU's caches; Linux refuses to bind one without", true).exactOptional(),
    virtualFunction: flag(
      'A virtual function, which cannot answer for its page requests',
      false,
    ).exactOptional(),
    reserved: z
      .array(reserved, { error: 'expected a list of ranges' })
      .meta({ description: 'Ranges that it cannot translate' })
      .exactOptional(),
  },
  'a device',
);

const unit = z.discriminatedUnion('type', [vtd, selftest], {
  error: 'expected a unit of type vtd or selftest',
});

export const topologySchema = members(
  {
    version: z.literal(1, { error: 'expected 1' }).meta({ description: 'Of this shape' }).exactOptional(),
    vfioNesting: flag(
      "VFIO's calls of 2019 to 2021, which bind a guest's page tables through a container",
      false,
    ).exactOptional(),
    units: named(unit, 'units', 'IOMMUs. Default: one of VT-d, vtd0, that can everything').exactOptional(),
    buses: named(bus, 'buses', 'Default: those that the addresses of devices ask for').exactOptional(),
    devices: named(
      device,
      'devices',
      'By PCI address, or any name on a platform bus. Default: 0000:00:01.0',
    ).exactOptional(),
  },
  'a topology: version, vfioNesting, units, buses, devices',
);

/** The text of docs/topology.schema.json. */
export function jsonSchema(): string {
  const { $schema, ...shape } = z.toJSONSchema(topologySchema, { io: 'input' });
  const title = 'A topology of ioasis';
  const description =
    'Which IOMMUs, buses and devices a machine has: ioasis run --topology, ioasis daemon --topology.';
  return `${JSON.stringify({ $schema, title, description, ...shape }, null, 2)}\n`;
}
