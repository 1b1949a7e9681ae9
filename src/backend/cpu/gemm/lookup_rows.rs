//! As [`super::weight_rows`], for one input row and double-quantized scales: these are looked up
//! where they are used, in tables of the 256 scales that a nested block can have.

use super::kernels::{DOT_ROWS, LOOKUP_LANES, LookupKernels, LookupRun};
use super::weight_rows::{Product, SEGMENT, Sums};
use crate::backend::Scales;
use crate::backend::cpu::stream::prefetch;

/// Elements per chunk of the kernels.
const CHUNK: usize = 128;

/// A product whose scales can be looked up.
pub(super) struct Lookup<'a> {
    product: &'a Product<'a>,
    kernels: &'a LookupKernels,
    scales: NestedScales,
}

/// The fields of [`Scales::Double`].
struct NestedScales {
    codes: *const u8,
    map: *const f32,
    absmax: *const f32,
    /// log2 of the elements per nested block.
    shift: u32,
    offset: f32,
}

impl<'a> Product<'a> {
    /// This product by table look-ups, if the arm has them, rows consist of whole chunks, and no
    /// chunk lies in two nested blocks.
    pub(super) fn lookup(&'a self) -> Option<Lookup<'a>> {
        let kernels = self.dot.lookup.as_ref()?;
        let Scales::Double { codes, map, nested_absmax, nested_shift, offset } = self.job.weight.scales
        else {
            return None;
        };
        let shift = self.job.weight.block_size.shift() + nested_shift;
        let chunks = (self.job.k as usize).is_multiple_of(CHUNK) && 1 << shift.min(30) >= CHUNK;
        let scales = NestedScales { codes, map, absmax: nested_absmax, shift, offset };
        (self.job.m == 1 && self.consecutive && chunks).then_some(Lookup { product: self, kernels, scales })
    }
}

/// Scales by code, for the nested block that a weight row is in.
#[repr(align(64))]
struct Tables([[f32; 256]; DOT_ROWS]);

impl Lookup<'_> {
    /// Writes the products with `groups` times [`DOT_ROWS`] weight rows to `sums[column(group, row)]`.
    ///
    /// # Safety
    /// Weight rows `first + column(..)` exist.
    #[allow(clippy::needless_range_loop)]
    pub(super) unsafe fn rows(
        &self,
        first: usize,
        groups: usize,
        column: impl Fn(usize, usize) -> usize,
        sums: &mut Sums,
    ) {
        let k = self.product.job.k as usize;
        let mut tables = Tables([[0.0; 256]; DOT_ROWS]);
        let mut nested = [usize::MAX; DOT_ROWS];
        let mut lanes = [[0f32; LOOKUP_LANES]; DOT_ROWS];
        let mut run = self.no_run(&mut lanes);
        for group in 0..groups {
            let mut products = [0f32; DOT_ROWS];
            for start in (0..k).step_by(SEGMENT) {
                let end = k.min(start + SEGMENT);
                let mut at = start;
                // SAFETY: the run lies inside the rows and, for each, inside a nested block.
                unsafe {
                    while at < end {
                        let mut stop = end;
                        for row in 0..DOT_ROWS {
                            let element = self.product.element(first + column(group, row), at);
                            let block = element >> self.scales.shift;
                            if nested[row] != block {
                                self.fill(&mut tables.0[row], block);
                                nested[row] = block;
                            }
                            stop = stop.min(at + ((block + 1) << self.scales.shift) - element);
                            self.place(&mut run, row, element);
                        }
                        run.tables = tables.0.as_ptr().cast();
                        run.input = self.product.input.start.wrapping_add(at);
                        run.chunks = (stop - at) / CHUNK;
                        (self.kernels.multiply[self.product.layout as usize])(&run);
                        at = stop;
                    }
                    (self.kernels.reduce)(run.lanes, products.as_mut_ptr());
                    run.lanes.write_bytes(0, DOT_ROWS * LOOKUP_LANES);
                }
            }
            for (row, product) in products.into_iter().enumerate() {
                sums[column(group, row)].write(product);
            }
        }
    }

    /// The table of a nested block.
    ///
    /// # Safety
    /// The block exists.
    unsafe fn fill(&self, table: &mut [f32; 256], block: usize) {
        let scales = &self.scales;
        // SAFETY: the block exists; the map has 256 values.
        unsafe {
            (self.kernels.table)(scales.map, *scales.absmax.add(block), scales.offset, table.as_mut_ptr());
        }
    }

    /// Sets where a row's run begins.
    fn place(&self, run: &mut LookupRun<'_>, row: usize, element: usize) {
        let (weight, k) = (&self.product.job.weight, self.product.job.k as usize);
        let shift = weight.block_size.shift();
        run.codes[row] = weight.codes.wrapping_add(element / 2);
        run.scales[row] = self.scales.codes.wrapping_add(element >> shift);
        // Those of the row below, which comes next: too few for processors to fetch them ahead.
        for line in (0..k.min(SEGMENT) >> shift).step_by(64) {
            prefetch(run.scales[row].wrapping_add((k >> shift) + line));
        }
    }

    /// A run whose place is not set.
    fn no_run(&self, lanes: &mut [[f32; LOOKUP_LANES]; DOT_ROWS]) -> LookupRun<'_> {
        let weight = &self.product.job.weight;
        LookupRun {
            codes: [std::ptr::null(); DOT_ROWS],
            scales: [std::ptr::null(); DOT_ROWS],
            tables: std::ptr::null(),
            shift: weight.block_size.shift().saturating_sub(7),
            input: std::ptr::null(),
            chunks: 0,
            codebook: &weight.codebook,
            lanes: lanes.as_mut_ptr().cast(),
        }
    }
}
