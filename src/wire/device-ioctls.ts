/** Every ioctl of a VFIO device file as people read it. Apart from the others, because a container uses the same numbers. */
import { named, plainRow, row, type Hints, type IoctlInfo, type Names, type Row } from './ioctl-rows.js';
import { nested, struct, type Struct } from './struct.js';
import * as ioasid from './uapi/ioasid.js';
import * as dma from './uapi/ioasis-dma.js';
import * as vfio from './uapi/vfio.gen.js';

const constants: Names = vfio.declared.constants;
const dmaConstants: Names = dma.declared.constants;

const dmaHints: Hints = {
  flags: {
    flags: {
      PASID: dma.IOASIS_DMA_PASID,
      PRIV: dma.IOASIS_DMA_PRIV,
      EXEC: dma.IOASIS_DMA_EXEC,
      ATS: dma.IOASIS_DMA_ATS,
      PRI: dma.IOASIS_DMA_PRI,
    },
    out_fault_access: named(dmaConstants, 'IOASIS_DMA_ACCESS_'),
  },
  enums: {
    op: named(dmaConstants, 'IOASIS_DMA_OP_'),
    out_state: {
      PENDING: dma.IOASIS_DMA_PENDING,
      DONE: dma.IOASIS_DMA_DONE,
      FAULTED: dma.IOASIS_DMA_FAULTED,
      FAILED: dma.IOASIS_DMA_FAILED,
    },
  },
};

const pciRegions = indices('VFIO_PCI_', '_REGION_INDEX');
const pciIrqs = indices('VFIO_PCI_', '_IRQ_INDEX');

/** `{ BAR0: 0 }` of VFIO_PCI_BAR0_REGION_INDEX. */
function indices(prefix: string, suffix: string): Names {
  const found = Object.entries(constants).filter(
    ([name]) => name.startsWith(prefix) && name.endsWith(suffix),
  );
  return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length, -suffix.length), value]));
}

const ways: Names = {
  GET: vfio.VFIO_DEVICE_FEATURE_GET,
  SET: vfio.VFIO_DEVICE_FEATURE_SET,
  PROBE: vfio.VFIO_DEVICE_FEATURE_PROBE,
};

/** By the name of the feature: what its data are. Those that have none are null. */
const featureData: Readonly<Record<string, Struct<any> | null>> = {
  PCI_VF_TOKEN: null,
  MIGRATION: vfio.vfio_device_feature_migration,
  MIG_DEVICE_STATE: vfio.vfio_device_feature_mig_state,
  LOW_POWER_ENTRY: null,
  LOW_POWER_ENTRY_WITH_WAKEUP: vfio.vfio_device_low_power_entry_with_wakeup,
  LOW_POWER_EXIT: null,
  DMA_LOGGING_START: vfio.vfio_device_feature_dma_logging_control,
  DMA_LOGGING_STOP: null,
  DMA_LOGGING_REPORT: vfio.vfio_device_feature_dma_logging_report,
  MIG_DATA_SIZE: vfio.vfio_device_feature_mig_data_size,
  BUS_MASTER: vfio.vfio_device_feature_bus_master,
  DMA_BUF: vfio.vfio_device_feature_dma_buf,
  MIG_PRECOPY_INFOv2: null,
};

/** One arm for each feature and each way of asking for it: the flags hold both. */
function featureRow(): Row {
  const number = vfio.VFIO_DEVICE_FEATURE;
  const head = vfio.vfio_device_feature;
  const by = new Map<number, IoctlInfo>();
  for (const [name, data] of Object.entries(featureData)) {
    const feature = constants[`VFIO_DEVICE_FEATURE_${name}`]!;
    const fields = data === null ? head.fields : { ...head.fields, data: nested(data)(head.size) };
    const whole = struct(head.name, head.size + (data?.size ?? 0), fields);
    for (let combination = 0; combination < 8; combination++) {
      let flags = feature;
      for (const [bit, value] of Object.values(ways).entries())
        if ((combination & (1 << bit)) !== 0) flags |= value;
      const hints = { enums: { flags: { [flagsText(name, flags)]: flags } } };
      by.set(flags, row('VFIO_DEVICE_FEATURE', number, whole, 'flags', hints)[1]);
    }
  }
  const [, info] = row('VFIO_DEVICE_FEATURE', number, head, 'flags', { flags: { flags: ways } });
  return [number, { ...info, variants: { field: 'flags', by } }];
}

const flagsText = (name: string, flags: number): string =>
  [...Object.keys(ways).filter((way) => (flags & ways[way]!) !== 0), name].join('|');

const authorization: Hints = { flags: { flags: { PASID: ioasid.IOASID_PASID } } };

const rows: readonly Row[] = [
  row('VFIO_DEVICE_GET_INFO', vfio.VFIO_DEVICE_GET_INFO, vfio.vfio_device_info, 'num_irqs', {
    flags: { flags: named(constants, 'VFIO_DEVICE_FLAGS_') },
  }),
  row('VFIO_DEVICE_GET_REGION_INFO', vfio.VFIO_DEVICE_GET_REGION_INFO, vfio.vfio_region_info, 'offset', {
    flags: { flags: named(constants, 'VFIO_REGION_INFO_FLAG_') },
    enums: { index: pciRegions },
  }),
  row('VFIO_DEVICE_GET_IRQ_INFO', vfio.VFIO_DEVICE_GET_IRQ_INFO, vfio.vfio_irq_info, 'count', {
    flags: { flags: named(constants, 'VFIO_IRQ_INFO_') },
    enums: { index: pciIrqs },
  }),
  row('VFIO_DEVICE_SET_IRQS', vfio.VFIO_DEVICE_SET_IRQS, vfio.vfio_irq_set, 'count', {
    flags: {
      flags: {
        DATA_NONE: vfio.VFIO_IRQ_SET_DATA_NONE,
        DATA_BOOL: vfio.VFIO_IRQ_SET_DATA_BOOL,
        DATA_EVENTFD: vfio.VFIO_IRQ_SET_DATA_EVENTFD,
        ACTION_MASK: vfio.VFIO_IRQ_SET_ACTION_MASK,
        ACTION_UNMASK: vfio.VFIO_IRQ_SET_ACTION_UNMASK,
        ACTION_TRIGGER: vfio.VFIO_IRQ_SET_ACTION_TRIGGER,
      },
    },
    enums: { index: pciIrqs },
  }),
  plainRow('VFIO_DEVICE_RESET', vfio.VFIO_DEVICE_RESET, {}),
  row(
    'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO',
    vfio.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
    vfio.vfio_pci_hot_reset_info,
    'count',
    { flags: { flags: named(constants, 'VFIO_PCI_HOT_RESET_FLAG_') } },
  ),
  row('VFIO_DEVICE_PCI_HOT_RESET', vfio.VFIO_DEVICE_PCI_HOT_RESET, vfio.vfio_pci_hot_reset, 'count'),
  row('VFIO_DEVICE_IOEVENTFD', vfio.VFIO_DEVICE_IOEVENTFD, vfio.vfio_device_ioeventfd, 'fd', {
    flags: {
      flags: {
        IOEVENTFD_8: vfio.VFIO_DEVICE_IOEVENTFD_8,
        IOEVENTFD_16: vfio.VFIO_DEVICE_IOEVENTFD_16,
        IOEVENTFD_32: vfio.VFIO_DEVICE_IOEVENTFD_32,
        IOEVENTFD_64: vfio.VFIO_DEVICE_IOEVENTFD_64,
      },
    },
  }),
  featureRow(),
  row('VFIO_DEVICE_BIND_IOMMUFD', vfio.VFIO_DEVICE_BIND_IOMMUFD, vfio.vfio_device_bind_iommufd, 'out_devid', {
    flags: { flags: named(constants, 'VFIO_DEVICE_BIND_FLAG_') },
  }),
  row(
    'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
    vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT,
    vfio.vfio_device_attach_iommufd_pt,
    'pt_id',
    { flags: { flags: { PASID: vfio.VFIO_DEVICE_ATTACH_PASID } } },
  ),
  row(
    'VFIO_DEVICE_DETACH_IOMMUFD_PT',
    vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT,
    vfio.vfio_device_detach_iommufd_pt,
    'flags',
    { flags: { flags: { PASID: vfio.VFIO_DEVICE_DETACH_PASID } } },
  ),
  row('VFIO_MIG_GET_PRECOPY_INFO', vfio.VFIO_MIG_GET_PRECOPY_INFO, vfio.vfio_precopy_info, 'dirty_bytes'),
  row('AUTHORIZE_IOASID', ioasid.AUTHORIZE_IOASID, ioasid.authorize_ioasid, 'pasid', authorization),
  row('DEAUTHORIZE_IOASID', ioasid.DEAUTHORIZE_IOASID, ioasid.authorize_ioasid, 'pasid', authorization),
  row('IOASIS_DMA', dma.IOASIS_DMA, dma.ioasis_dma, 'out_old', dmaHints),
];

/** By ioctl number. */
export const deviceIoctlTable: ReadonlyMap<number, IoctlInfo> = new Map(rows);
