//! What an arm must provide for products.

use crate::backend::Scales;
use crate::dtype::FloatType;

use super::row::OutputRow;

/// The kernels of one arm. All are unsafe in the same way: pointers cover what the arguments say,
/// and the machine supports the arm's instructions.
pub(crate) struct Kernels {
    /// Widens elements, at any alignment, to `f32`, exactly.
    pub(crate) widen: unsafe fn(source: *const u8, from: FloatType, count: usize, out: *mut f32),
    /// Adds bias and former output to a run of sums, rounds once and stores.
    pub(crate) finish: unsafe fn(row: &OutputRow, sums: *const f32, count: usize),
    /// The scales of `count` consecutive blocks.
    pub(crate) scales: unsafe fn(scales: &Scales, first: usize, count: usize, out: *mut f32),
    /// Few input rows: dot products straight from the packed codes.
    pub(crate) dot: DotKernels,
    /// Many input rows: decoded panels.
    pub(crate) panel: PanelKernels,
}

/// Largest number of input rows of a dot kernel.
pub(crate) const DOT_INPUTS: usize = 4;
/// Weight rows that a dot kernel reads side by side.
pub(crate) const DOT_ROWS: usize = 4;

/// Dot products of weight rows, decoded in registers, with packed input rows.
pub(crate) struct DotKernels {
    /// Elements per step. Input rows are padded with zeros to a multiple of it.
    pub(crate) chunk: usize,
    /// Element `i` of a packed chunk is element `order[i]` of the chunk, so that the kernel meets
    /// the input in the order in which shifting packed codes yields weights.
    pub(crate) order: &'static [u8],
    /// The kernels by `[layout][input rows - 1]` for [`DOT_ROWS`] weight rows.
    pub(crate) wide: [[DotKernel; DOT_INPUTS]; 3],
    /// The same for one weight row.
    pub(crate) narrow: [[DotKernel; DOT_INPUTS]; 3],
}

/// Adds to `sums[row * inputs + input]` the products over a run of elements.
pub(crate) type DotKernel = unsafe fn(&DotRun, sums: *mut f32);

/// How the scales of a run lie in memory: the index into the kernel tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleLayout {
    /// One scale per `1 << DotRun::shift` times 128 elements.
    Wide = 0,
    /// One scale per 64 elements.
    By64 = 1,
    /// One scale per 32 elements.
    By32 = 2,
}

/// A run of packed codes of up to [`DOT_ROWS`] weight rows against packed input rows.
pub(crate) struct DotRun {
    /// Where the codes of each weight row start.
    pub(crate) codes: [*const u8; DOT_ROWS],
    /// The scales of each weight row, in the kernel's layout.
    pub(crate) scales: [*const f32; DOT_ROWS],
    /// log2 of the scale distance in units of 128 elements ([`ScaleLayout::Wide`] only).
    pub(crate) shift: u32,
    /// Packed input rows.
    pub(crate) input: *const f32,
    /// Elements from one packed input row to the next.
    pub(crate) input_stride: usize,
    /// Bytes of codes per weight row.
    pub(crate) bytes: usize,
    /// The values of nibbles.
    pub(crate) codebook: [f32; 16],
}

/// Decoding to `f32` panels, and multiplying by them.
pub(crate) struct PanelKernels {
    /// Most rows of a tile.
    pub(crate) rows: usize,
    /// Columns of a panel; a multiple of [`lanes`](Self::lanes).
    pub(crate) columns: usize,
    /// Columns that a kernel computes together; a tile may have any multiple of it up to
    /// [`columns`](Self::columns).
    pub(crate) lanes: usize,
    /// `panel[k][n] = W[n, k]` for [`lanes`](Self::lanes) weight rows.
    pub(crate) decode_columns: unsafe fn(&ColumnRun),
    /// `out[i]` = element `first + i` of the flat stream.
    pub(crate) decode_rows: unsafe fn(run: &RowRun),
    /// `c[r][v] (+)= sum over t of a[r][t] * b[t][v]`.
    pub(crate) tile: unsafe fn(&Tile),
}

/// Weight rows to decode into columns of a panel.
pub(crate) struct ColumnRun<'a> {
    /// The weight. Its rows start at multiples of 32 elements of the flat stream.
    pub(crate) weight: &'a crate::backend::WeightRef,
    /// The first weight row.
    pub(crate) row: usize,
    /// How many of the following rows exist, at least 1; the columns of others get any values.
    pub(crate) rows: usize,
    /// Elements per weight row, a multiple of 32.
    pub(crate) row_length: usize,
    /// The first element of each row, a multiple of 128.
    pub(crate) start: usize,
    /// How many elements, a multiple of 32.
    pub(crate) count: usize,
    /// `panel[t * stride + row]`.
    pub(crate) panel: *mut f32,
    /// Elements from one panel row to the next.
    pub(crate) stride: usize,
}

/// A run of the flat stream to decode.
pub(crate) struct RowRun<'a> {
    /// The weight.
    pub(crate) weight: &'a crate::backend::WeightRef,
    /// The first element.
    pub(crate) first: usize,
    /// How many.
    pub(crate) count: usize,
    /// Where to.
    pub(crate) out: *mut f32,
}

/// A small product: `rows` by `vectors * lanes` sums over `depth` terms.
pub(crate) struct Tile {
    pub(crate) rows: usize,
    pub(crate) vectors: usize,
    pub(crate) depth: usize,
    /// `a[row * a_stride + t]`; any alignment.
    pub(crate) a: *const f32,
    pub(crate) a_stride: isize,
    /// `b[t * b_stride + column]`.
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    /// `c[row * c_stride + column]`.
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    /// Add to what `c` holds.
    pub(crate) add: bool,
}
