// What the shipped predictor learns from: for every architecture space its table and the columns that count as tasks. Columns kept for
// judging transfer (TransNAS-101 segmentation and room layout, NAS-Bench-MR video, NB201 NinaPro) stand nowhere here, nor does NAS-Bench-101.
export interface Source {
  /** An architecture space, see spaces/index.ts. */
  readonly space: string;
  /** File without `.csv` or `.csv.gz`. */
  readonly table: string;
  /** Higher is better. */
  readonly labels: readonly string[];
}

const TRANSNAS = [
  'valfinal_class_scene_top1_pct',
  'valfinal_class_object_top1_pct',
  'valfinal_jigsaw_top1_pct',
  'valfinal_autoencoder_ssim',
];

export const SOURCES: readonly Source[] = [
  {
    space: 'nb201',
    table: 'nb201',
    labels: [
      'cifar10_test200_pct',
      'cifar100_test200_pct',
      'in16_test200_pct',
      'hp12_cifar10_val',
      'hp12_cifar100_val',
      'hp12_in16_val',
    ],
  },
  { space: 'transnas101-micro', table: 'transnas101-micro', labels: TRANSNAS },
  { space: 'transnas101-macro', table: 'transnas101-macro', labels: TRANSNAS },
  {
    space: 'nas-bench-mr',
    table: 'nas-bench-mr',
    labels: ['cls-50-1000.top1', 'cls-50-100.top1', 'cls-10-1000.top1', 'cls-10c.top1', 'seg-4x.mIoU'],
  },
  { space: 'accel-nasbench', table: 'accel-nasbench', labels: ['val_top1_pct'] },
  { space: 'nas-bench-macro', table: 'nas-bench-macro', labels: ['mean_acc_pct'] },
];
