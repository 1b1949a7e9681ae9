//! What an arm must provide for products.

use crate::backend::Scales;
use crate::dtype::FloatType;

use super::row::OutputRow;
pub(crate) use super::tile_kernels::*;

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
    /// Few input rows, transposed: weight rows are scaled and added, straight from the packed codes. Without, panels serve.
    pub(crate) axpy: Option<AxpyKernels>,
    /// Many input rows: decoded panels.
    pub(crate) panel: PanelKernels,
    /// 16-bit input: tiles of `bf16`.
    pub(crate) tiles: Option<TileKernels>,
    /// Few input rows: tiles of unscaled codes.
    pub(crate) block_sums: Option<BlockSumKernels>,
}

/// Largest number of input rows that a dot kernel multiplies at a time.
pub(crate) const DOT_INPUTS: usize = 4;
/// Largest number of elements per step of a dot kernel.
pub(crate) const MAX_CHUNK: usize = 128;
/// Weight rows that a dot kernel reads side by side.
pub(crate) const DOT_ROWS: usize = 4;

/// Dot products of weight rows, decoded in registers, with packed input rows.
pub(crate) struct DotKernels {
    /// Elements per step, at most [`MAX_CHUNK`]. Input rows are padded with zeros to a multiple.
    pub(crate) chunk: usize,
    /// Puts a chunk of input into the order in which the kernel decodes weights.
    pub(crate) pack: unsafe fn(chunk: *const f32, out: *mut f32),
    /// The kernels by `[layout][input rows - 1]` for [`DOT_ROWS`] weight rows.
    pub(crate) wide: [[DotKernel; DOT_INPUTS]; 3],
    /// For one input row and double-quantized scales; without, scales are decoded beforehand.
    pub(crate) lookup: Option<LookupKernels>,
    /// As `wide`, for one weight row.
    pub(crate) narrow: [[DotKernel; DOT_INPUTS]; 3],
}

/// Adds to `sums[row * inputs + input]` the products over a run of elements.
pub(crate) type DotKernel = unsafe fn(&DotRun<'_>, sums: *mut f32);

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
pub(crate) struct DotRun<'a> {
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
    pub(crate) codebook: &'a [f32; 16],
}

/// Lanes of the sums that a lookup kernel carries from run to run.
pub(crate) const LOOKUP_LANES: usize = 16;

/// Products of one input row with [`DOT_ROWS`] weight rows whose scales are looked up where they
/// are used, in tables made for one nested block of each row: that takes loads and no arithmetic.
pub(crate) struct LookupKernels {
    /// `out[code] = map[code] * nested + offset`, rounded twice, for all 256 codes.
    pub(crate) table: unsafe fn(map: *const f32, nested: f32, offset: f32, out: *mut f32),
    /// The kernels by layout: they add the products of a run to its lanes.
    pub(crate) multiply: [unsafe fn(&LookupRun<'_>); 3],
    /// `sums[row] +=` the sum of the row's lanes, added as the dot kernels do.
    pub(crate) reduce: unsafe fn(lanes: *const f32, sums: *mut f32),
}

/// A run of whole chunks of [`DOT_ROWS`] weight rows, within one nested block of each.
pub(crate) struct LookupRun<'a> {
    /// Where the codes of each weight row start.
    pub(crate) codes: [*const u8; DOT_ROWS],
    /// The codes of the scales of each row, in the kernel's layout.
    pub(crate) scales: [*const u8; DOT_ROWS],
    /// `[row][256]` scales.
    pub(crate) tables: *const f32,
    /// As [`DotRun::shift`].
    pub(crate) shift: u32,
    /// The packed input row.
    pub(crate) input: *const f32,
    /// How many chunks.
    pub(crate) chunks: usize,
    /// The values of nibbles.
    pub(crate) codebook: &'a [f32; 16],
    /// `[row][LOOKUP_LANES]` sums.
    pub(crate) lanes: *mut f32,
}

/// Sums of scaled weight rows, decoded in registers.
pub(crate) struct AxpyKernels {
    /// Most input rows for which this is faster than panels.
    pub(crate) inputs: usize,
    /// The kernels by `[one scale per stripe, or two][input rows - 1]`.
    pub(crate) kernels: [&'static [AxpyKernel]; 2],
    /// Multiplies scales by elements of the input.
    pub(crate) factors: unsafe fn(&FactorRun),
    /// Puts sums, of so many stripes of 64, from the order of decoding into their own.
    pub(crate) order: unsafe fn(sums: *mut f32, stripes: usize),
}

/// `sums[input][column] (+)= sum over rows of factor * weight`.
pub(crate) type AxpyKernel = unsafe fn(&AxpyRun);

/// A run of columns of some weight rows, in stripes of 64 columns, or one of 32 at the end.
pub(crate) struct AxpyRun {
    /// Where the codes of the first row's run start.
    pub(crate) codes: *const u8,
    /// Bytes from one row to the next.
    pub(crate) row_bytes: usize,
    /// How many rows.
    pub(crate) rows: usize,
    /// How many columns, a multiple of 32.
    pub(crate) columns: usize,
    /// How many bytes further on codes should be fetched for later.
    pub(crate) ahead: usize,
    /// `factors[row * row_factors + input * input_factors + i]`, where `i` is
    /// `(inside + stripe) >> shift`, or `2 * stripe` and `2 * stripe + 1` for two per stripe.
    pub(crate) factors: *const f32,
    pub(crate) input_factors: usize,
    pub(crate) row_factors: usize,
    pub(crate) shift: u32,
    pub(crate) inside: usize,
    /// `sums[input * sum_stride + 64 * stripe + i]`, whole stripes, in the order of decoding.
    pub(crate) sums: *mut f32,
    pub(crate) sum_stride: usize,
    /// Add to what `sums` holds.
    pub(crate) add: bool,
    /// The values of nibbles.
    pub(crate) codebook: [f32; 16],
}

/// `out[(row * inputs + i) * count + s]` becomes `scales[row * scale_stride + s]` times
/// `input[i * input_stride + row * input_step]`.
pub(crate) struct FactorRun {
    pub(crate) scales: *const f32,
    pub(crate) scale_stride: usize,
    pub(crate) count: usize,
    pub(crate) rows: usize,
    /// Any alignment.
    pub(crate) input: *const f32,
    pub(crate) input_stride: isize,
    pub(crate) input_step: usize,
    pub(crate) inputs: usize,
    pub(crate) out: *mut f32,
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
    /// `out[row][i]` = element `first + row * row_length + i` of the flat stream.
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

/// Runs of the flat stream to decode, one of each of several weight rows.
pub(crate) struct RowRun<'a> {
    /// The weight.
    pub(crate) weight: &'a crate::backend::WeightRef,
    /// The first element of the first row's run.
    pub(crate) first: usize,
    /// How many elements of each row.
    pub(crate) count: usize,
    /// How many rows.
    pub(crate) rows: usize,
    /// Elements from one row to the next.
    pub(crate) row_length: usize,
    /// `out[row * stride + i]`.
    pub(crate) out: *mut f32,
    /// Elements from one row of `out` to the next.
    pub(crate) stride: usize,
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
